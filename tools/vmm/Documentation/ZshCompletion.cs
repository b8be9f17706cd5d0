using System.Text;

namespace Vmm.Tool;

/// <summary>Writes a completion for zsh: one function for each command.</summary>
internal static class ZshCompletion
{
    internal static string Of(IReadOnlyList<CommandPage> pages)
    {
        StringBuilder text = new("#compdef vmm\n# Completion of vmm for zsh, made by 'vmm completion zsh'.\n");
        // Each function before the one that calls it.
        foreach (CommandPage page in pages.Reverse()) Function(text, page);
        // Loaded from $fpath, the file is the function's body; sourced, it names the function.
        text.Append("if [ \"$funcstack[1]\" = _vmm ]; then _vmm \"$@\"; else compdef _vmm vmm; fi\n");
        return text.ToString();
    }

    private static void Function(StringBuilder text, CommandPage page)
    {
        bool hasCommands = page.Subcommands.Any();
        text.Append($"{Name(page.Path)}() {{\n    local curcontext=$curcontext state line\n    _arguments -C");
        foreach (OptionLine option in page.Options) Option(text, option);
        string[] words = [.. BashCompletion.Words(page.Command)];
        if (words.Length > 0) text.Append($" \\\n        {Quoted($"1:argument:({string.Join(' ', words)})")}");
        if (!hasCommands)
        {
            text.Append("\n}\n");
            return;
        }
        string commands = string.Join(' ', page.Subcommands.Select(child => $"{child.Name}\\:\"{Plain(child.Description ?? "")}\""));
        text.Append($" \\\n        {Quoted($"1:command:(({commands}))")} \\\n        '*::argument:->rest'\n    case $line[1] in\n");
        foreach (string child in page.Subcommands.Select(child => child.Name))
            text.Append($"        {child}) {Name($"{page.Path} {child}")} ;;\n");
        text.Append("    esac\n}\n");
    }

    private static void Option(StringBuilder text, OptionLine option)
    {
        string[] keys = [.. option.Keys];
        string answer = option.Choices.Length > 0 ? $"({string.Join(' ', option.Choices)})" : option.TakesFile ? "_files"
            : keys.Length > 0 ? $"{{compadd -S '' -- {string.Join(' ', keys)} || _files}}" : " ";
        string value = option.Value is null ? "" : $":{(option.ValueIsOptional ? ":" : "")}value:{answer}";
        foreach (string name in option.Names)
        {
            string others = option.IsRepeatable ? "*" : $"({string.Join(' ', option.Names)})";
            text.Append($" \\\n        {Quoted($"{others}{name}[{Plain(option.Description)}]{value}")}");
        }
    }

    private static string Name(string path) => "_" + path.Replace(' ', '_').Replace('-', '_');

    /// <summary>A description without what _arguments gives a meaning.</summary>
    private static string Plain(string text) =>
        string.Concat(text.Replace('[', '(').Replace(']', ')').Replace(":", "\\:", StringComparison.Ordinal)
            .Where(letter => letter is not ('"' or '`' or '$')));

    private static string Quoted(string text) => $"'{text.Replace("'", "'\\''", StringComparison.Ordinal)}'";
}
