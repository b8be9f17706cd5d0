using System.CommandLine.Completions;
using System.Text;

namespace Vmm.Tool;

/// <summary>Writes a completion for bash: words of the command tree, keys of device descriptions, and names of files.</summary>
internal static class BashCompletion
{
    internal static string Of(IReadOnlyList<CommandPage> pages)
    {
        StringBuilder text = new("""
            # Completion of vmm for bash, made by 'vmm completion bash'.
            _vmm() {
                local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} path=vmm i
                COMPREPLY=()
                for ((i = 1; i < COMP_CWORD; i++)); do
                    case "$path ${COMP_WORDS[i]}" in

            """);
        string commands = string.Join(" | ", pages.Where(page => !page.IsRoot).Select(page => Quoted(page.Path)));
        text.Append($"            {commands}) path=\"$path ${{COMP_WORDS[i]}}\" ;;\n");
        text.Append("""
                    esac
                done
                case "$path $prev" in

            """);
        foreach (CommandPage page in pages)
        {
            foreach (OptionLine option in page.Options.Where(option => option is { Value: not null, ValueIsOptional: false }))
                Value(text, page, option);
        }
        text.Append("    esac\n    case \"$path\" in\n");
        foreach (CommandPage page in pages)
        {
            string[] words =
                [.. page.Subcommands.Select(child => child.Name), .. Words(page.Command),
                    .. page.Options.SelectMany(option => option.Names)];
            text.Append($"        {Quoted(page.Path)}) COMPREPLY=($(compgen -W {Quoted(string.Join(' ', words))} -- \"$cur\")) ;;\n");
        }
        text.Append("    esac\n}\ncomplete -o bashdefault -o default -F _vmm vmm\n");
        return text.ToString();
    }

    /// <summary>The words an argument of a command takes.</summary>
    internal static IEnumerable<string> Words(System.CommandLine.Command command) =>
        command.Arguments.SelectMany(argument => argument.GetCompletions(CompletionContext.Empty)).Select(item => item.Label);

    private static void Value(StringBuilder text, CommandPage page, OptionLine option)
    {
        string cases = string.Join(" | ", option.Names.Select(name => Quoted($"{page.Path} {name}")));
        string[] keys = [.. option.Keys];
        // Without an answer of ours bash offers the names of files.
        string answer = option.Choices.Length > 0 ? $"COMPREPLY=($(compgen -W {Quoted(string.Join(' ', option.Choices))} -- \"$cur\")); "
            : keys.Length > 0 ? $"COMPREPLY=($(compgen -W {Quoted(string.Join(' ', keys))} -- \"$cur\")); compopt -o nospace; " : "";
        text.Append($"        {cases}) {answer}return ;;\n");
    }

    private static string Quoted(string text) => $"'{text.Replace("'", "'\\''", StringComparison.Ordinal)}'";
}
