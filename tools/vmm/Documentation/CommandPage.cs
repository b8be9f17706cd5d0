using System.CommandLine;

namespace Vmm.Tool;

/// <summary>A command of the tree as manual pages and completion see it: with its whole name and every option.</summary>
/// <param name="Command">The command.</param>
/// <param name="Path">Its name and those above it: <c>vmm bench vhost-user-blk</c>.</param>
/// <param name="Options">Every option it takes that help shows.</param>
internal sealed record CommandPage(Command Command, string Path, IReadOnlyList<OptionLine> Options)
{
    internal const string Program = "vmm";

    internal bool IsRoot => Path == Program;

    /// <summary>Its name and those above it, joined for a file or a function: <c>vmm-bench-vhost-user-blk</c>.</summary>
    internal string Joined(char separator) => Path.Replace(' ', separator);

    internal IEnumerable<Command> Subcommands => Visible(Command);

    /// <summary>Every command below a root, the root included, each before those below it.</summary>
    internal static IReadOnlyList<CommandPage> Of(RootCommand root)
    {
        List<CommandPage> pages = [];
        Add(root, Program, []);
        return pages;

        void Add(Command command, string path, IReadOnlyList<Option> inherited)
        {
            Option[] options = [.. command.Options, .. inherited];
            pages.Add(new CommandPage(command, path, [.. options.Where(option => !option.Hidden).Select(OptionLine.Of)]));
            foreach (Command child in Visible(command)) Add(child, $"{path} {child.Name}", [.. options.Where(option => option.Recursive)]);
        }
    }

    private static IEnumerable<Command> Visible(Command command) => command.Subcommands.Where(child => !child.Hidden);
}

/// <summary>An option as manual pages and completion see it.</summary>
/// <param name="Names">Its names, each with its dashes; the first is the one that messages use.</param>
/// <param name="Value">What its value looks like; null if it takes none.</param>
/// <param name="Description">A sentence or two.</param>
/// <param name="Choices">The words it takes, if those are all there are.</param>
/// <param name="ValueIsOptional">Whether it can stand alone.</param>
/// <param name="IsRepeatable">Whether it may be given several times.</param>
internal sealed record OptionLine(
    string[] Names, string? Value, string Description, string[] Choices, bool ValueIsOptional, bool IsRepeatable)
{
    /// <summary>Whether the value is the name of a file, or a description of a device that begins with one.</summary>
    internal bool TakesFile =>
        Value is not null && (Value.StartsWith("FILE", StringComparison.Ordinal) || Value.StartsWith("PATH", StringComparison.Ordinal));

    /// <summary>The keys and flags that a description of a device is made of, as <c>path=</c> or <c>ro</c>.</summary>
    internal IEnumerable<string> Keys => Value is null || Choices.Length > 0 || TakesFile ? []
        : SpecKey.Of(Value).Select(key => key.IsFlag ? key.Name : $"{key.Name}=").Distinct();

    internal static OptionLine Of(Option option)
    {
        // Names such as '/h' are for another system's users.
        string[] names =
            [option.Name, .. option.Aliases.Where(alias => alias[0] == '-' && alias != option.Name).Order(StringComparer.Ordinal)];
        bool takesValue = option.Arity.MaximumNumberOfValues > 0;
        string[] choices = option switch { ChoiceOption choice => choice.Choices, SwitchOption => ["true", "false"], _ => [] };
        DeviceOption? device = option as DeviceOption;
        return new OptionLine(names, takesValue ? device?.Value ?? option.HelpName ?? "VALUE" : null,
            device?.Kind.Description ?? option.Description ?? "", choices,
            ValueIsOptional: takesValue && option.Arity.MinimumNumberOfValues == 0 && option is TextOption or DeviceOption,
            IsRepeatable: option.Arity.MaximumNumberOfValues > 1);
    }
}
