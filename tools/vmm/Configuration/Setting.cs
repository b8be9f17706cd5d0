using System.CommandLine;

namespace Vmm.Tool;

/// <summary>An option of a command as a configuration file sets it: the option's long name without the dashes, and what it takes.</summary>
/// <param name="Option">The option.</param>
/// <param name="Name">A name it has in the file; an option with a synonym is a setting for each.</param>
internal sealed record Setting(Option Option, string Name)
{
    /// <summary>What it takes.</summary>
    internal ValueKinds Kinds { get; } = Option switch
    {
        DeviceOption { IsRepeatable: true } => ValueKinds.Tables,
        DeviceOption { IsSwitch: true } => ValueKinds.Table | ValueKinds.Boolean,
        DeviceOption => ValueKinds.Table,
        NumberOption => ValueKinds.Integer,
        SwitchOption => ValueKinds.Boolean,
        _ => ValueKinds.Text,
    };

    /// <summary>Whether it is another name for a setting.</summary>
    internal bool IsSynonym => Option.Name != $"--{Name}";

    /// <summary>What is in force without it, as the command line would say it; null for nothing.</summary>
    internal string? Standard => Option switch
    {
        DeviceOption device => device.IsStandard ? "true" : null,
        SwitchOption { HasDefaultValue: false } => "false",
        { HasDefaultValue: true } => Option.GetDefaultValue() as string,
        _ => null,
    };

    /// <summary>What a table of it may have.</summary>
    internal IReadOnlyList<SpecKey> Keys => Option is DeviceOption device ? SpecKey.Of(device.Syntax) : [];

    /// <summary>Every setting of a command, in the order of its help.</summary>
    internal static IReadOnlyList<Setting> Of(Command command) =>
    [
        .. from option in command.Options
           where option is (TextOption or DeviceOption) and not ConfigOption
           from name in option.Aliases.Prepend(option.Name)
           where name.StartsWith("--", StringComparison.Ordinal)
           select new Setting(option, name[2..]),
    ];

    /// <summary>The commands that take a configuration file.</summary>
    internal static IEnumerable<Command> CommandsOf(RootCommand root) =>
        root.Subcommands.Where(command => ConfigOption.Of(command) is not null);
}
