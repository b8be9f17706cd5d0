using System.Text;

namespace Vmm.Tool;

/// <summary>Writes a completion for fish: one line for each command and option.</summary>
internal static class FishCompletion
{
    internal static string Of(IReadOnlyList<CommandPage> pages)
    {
        StringBuilder text = new("# Completion of vmm for fish, made by 'vmm completion fish'.\ncomplete -c vmm -f\n");
        foreach (CommandPage page in pages)
        {
            string condition = Condition(page);
            foreach (System.CommandLine.Command child in page.Subcommands)
                text.Append($"complete -c vmm -n {condition} -a {Quoted(child.Name)} -d {Quoted(child.Description ?? "")}\n");
            foreach (string word in BashCompletion.Words(page.Command)) text.Append($"complete -c vmm -n {condition} -a {Quoted(word)}\n");
            foreach (OptionLine option in page.Options) Option(text, condition, option);
        }
        return text.ToString();
    }

    private static void Option(StringBuilder text, string condition, OptionLine option)
    {
        text.Append($"complete -c vmm -n {condition}");
        foreach (string name in option.Names)
            text.Append(name.StartsWith("--", StringComparison.Ordinal) ? $" -l {Quoted(name[2..])}" : $" -s {Quoted(name[1..])}");
        string[] words = option.Choices.Length > 0 ? option.Choices : [.. option.Keys];
        if (option.TakesFile) text.Append(" -r -F");
        else if (option.Value is not null && !option.ValueIsOptional) text.Append(" -x");
        if (words.Length > 0) text.Append($" -a {Quoted(string.Join(' ', words))}");
        text.Append($" -d {Quoted(option.Description)}\n");
    }

    /// <summary>Whether what was typed so far names this command and none below it.</summary>
    private static string Condition(CommandPage page)
    {
        if (page.IsRoot) return "__fish_use_subcommand";
        IEnumerable<string> named = page.Path.Split(' ').Skip(1).Select(word => $"__fish_seen_subcommand_from {word}");
        IEnumerable<string> below = page.Subcommands.Select(child => $"not __fish_seen_subcommand_from {child.Name}");
        return Quoted(string.Join("; and ", named.Concat(below)));
    }

    private static string Quoted(string text) =>
        $"'{text.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("'", "\\'", StringComparison.Ordinal)}'";
}
