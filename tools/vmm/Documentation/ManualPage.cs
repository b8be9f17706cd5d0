using System.Text;

namespace Vmm.Tool;

/// <summary>Writes the manual page of a command, for section 1, in the language of man(7).</summary>
internal static class ManualPage
{
    /// <summary>The page of one command.</summary>
    /// <param name="page">The command.</param>
    /// <param name="all">Every command, for those it refers to.</param>
    /// <param name="version">The tool's version.</param>
    internal static string Of(CommandPage page, IReadOnlyList<CommandPage> all, string version)
    {
        StringBuilder text = new();
        string name = page.Joined('-');
        text.Append($".TH {Quoted(name.ToUpperInvariant())} 1 \"\" {Quoted($"vmm {version}")} \"User Commands\"\n");
        text.Append($".SH NAME\n{Escaped(name)} \\- {Escaped(NameLine(page.Command.Description ?? ""))}\n");
        text.Append(".SH SYNOPSIS\n");
        Synopsis(text, page);
        text.Append($".SH DESCRIPTION\n{Line(page.Command.Description ?? "")}\n");
        if (page.Subcommands.Any())
        {
            text.Append(".SH COMMANDS\n");
            foreach (CommandPage child in Children(page, all))
            {
                text.Append($".TP\n.B {Escaped(child.Command.Name)}\n{Line(child.Command.Description ?? "")} See\n");
                text.Append($".BR {Escaped(child.Joined('-'))} (1).\n");
            }
        }
        // Lines are not stretched: a value without a space can't be.
        text.Append(".SH OPTIONS\n.ad l\n");
        foreach (OptionLine option in page.Options) Describe(text, option);
        text.Append(".SH EXIT STATUS\n");
        foreach ((string code, string meaning) in (ReadOnlySpan<(string, string)>)
        [
            ("0", "All went well."),
            ("1", "A file, a device, the kernel or the guest did not do what it should. A sentence on standard error says what."),
            ("2", "The command line makes no sense. A sentence on standard error says why."),
        ])
        {
            text.Append($".TP\n.B {code}\n{Line(meaning)}\n");
        }
        SeeAlso(text, page, all);
        return text.ToString();
    }

    private static void Synopsis(StringBuilder text, CommandPage page)
    {
        text.Append($".B {Escaped(page.Path)}\n");
        if (page.Subcommands.Any()) text.Append(".I COMMAND\n");
        if (page.Options.Any()) text.Append(".RI [ OPTION .\\|.\\|.]\n");
        foreach (System.CommandLine.Argument argument in page.Command.Arguments)
        {
            string name = Escaped(argument.HelpName ?? argument.Name);
            text.Append(argument.Arity.MinimumNumberOfValues == 0 ? $".RI [ {name} ]\n" : $".I {name}\n");
        }
    }

    private static void Describe(StringBuilder text, OptionLine option)
    {
        text.Append(".TP\n");
        string value = option.Value is null ? "" : $"\\fI{Breakable(option.Value)}\\fR";
        if (option.Value is not null) value = option.ValueIsOptional ? $" [{value}]" : $" {value}";
        text.Append(string.Join(", ", option.Names.Select(name => $"\\fB{Escaped(name)}\\fR"))).Append(value).Append('\n');
        text.Append(Line(option.Description)).Append('\n');
    }

    private static void SeeAlso(StringBuilder text, CommandPage page, IReadOnlyList<CommandPage> all)
    {
        string above = page.IsRoot ? "" : page.Path[..page.Path.LastIndexOf(' ')];
        string below = page.Path + " ";
        bool IsNear(string path) => path == above || path.StartsWith(below, StringComparison.Ordinal);
        string[] others = [.. all.Where(other => IsNear(other.Path)).Select(other => other.Joined('-'))];
        if (others.Length == 0) return;
        text.Append(".SH SEE ALSO\n");
        for (int i = 0; i < others.Length; i++) text.Append($".BR {Escaped(others[i])} (1){(i < others.Length - 1 ? "," : "")}\n");
    }

    private static IEnumerable<CommandPage> Children(CommandPage page, IReadOnlyList<CommandPage> all) =>
        page.Subcommands.Select(child => all.Single(other => other.Path == $"{page.Path} {child.Name}"));

    /// <summary>The first sentence, as an index of manual pages shows it.</summary>
    private static string NameLine(string description)
    {
        int end = description.IndexOf(". ", StringComparison.Ordinal);
        return (end < 0 ? description : description[..end]).TrimEnd('.');
    }

    /// <summary>A text that begins a line: a dot or an apostrophe there would be a request.</summary>
    private static string Line(string text) => text.Length > 0 && text[0] is '.' or '\'' ? "\\&" + Escaped(text) : Escaped(text);

    /// <summary>The syntax of a value, which has no spaces: a line may end between its parts.</summary>
    private static string Breakable(string syntax) =>
        Escaped(syntax).Replace("[,", "\\:[,", StringComparison.Ordinal).Replace("|", "|\\:", StringComparison.Ordinal);

    private static string Quoted(string text) => $"\"{Escaped(text)}\"";

    private static string Escaped(string text) =>
        text.Replace("\\", "\\e", StringComparison.Ordinal).Replace("-", "\\-", StringComparison.Ordinal)
            .Replace("…", ".\\|.\\|.", StringComparison.Ordinal).Replace("\"", "\\(dq", StringComparison.Ordinal);
}
