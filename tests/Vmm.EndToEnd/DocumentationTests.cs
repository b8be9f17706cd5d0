using System.Text.RegularExpressions;

namespace Vmm.EndToEnd;

/// <summary>Manual pages and completions say what help says: all three are made of the one tree of commands.</summary>
public sealed partial class DocumentationTests
{
    /// <summary>Every command with subcommands among them, from help itself.</summary>
    private static readonly Lazy<IReadOnlyDictionary<string, string>> Help = new(ReadHelp);

    [Fact]
    public void There_is_a_manual_page_for_every_command_and_no_other() =>
        Assert.Equal(Help.Value.Keys.Select(command => command.Replace(' ', '-')).Order(), VmmProcess.Run("manual").Lines.Order());

    [Fact]
    public void A_manual_page_has_every_option_of_the_help_and_no_other()
    {
        foreach ((string command, string help) in Help.Value)
        {
            string page = VmmProcess.Run("manual", command.Replace(' ', '-')).Output.Replace("\\-", "-").Replace("\\:", "");
            Assert.Equal(Options(HelpOption(), help), Options(DescribedOption(), page));
        }
    }

    [Fact]
    public void A_manual_page_is_rendered_without_a_warning()
    {
        using ScratchDirectory scratch = new();
        foreach (string page in VmmProcess.Run("manual").Lines)
        {
            File.WriteAllText(scratch.PathOf(page), VmmProcess.Run("manual", page).Output);
            Assert.Equal("", Shell.Run("groff", "-man", "-ww", "-z", "-Tutf8", scratch.PathOf(page)));
            string shown = Shell.Run("groff", "-man", "-Tascii", "-P-c", "-P-b", "-P-u", scratch.PathOf(page));
            Assert.Contains("EXIT STATUS", shown);
            Assert.StartsWith(page.ToUpperInvariant(), shown.TrimStart());
        }
    }

    [Fact]
    public void Bash_completes_what_help_names()
    {
        string script = VmmProcess.Run("completion", "bash").Output;
        foreach ((string command, string help) in Help.Value)
        {
            // Neither opened nor completed by hand: asked the way readline asks.
            string[] words = [.. command.Split(' '), "--"];
            string asked = $"""
                {script}
                COMP_WORDS=({string.Join(' ', words)}); COMP_CWORD={words.Length - 1}; _vmm; printf '%s\n' "${"{"}COMPREPLY[@]{"}"}"
                """;
            Assert.Equal(Options(HelpOption(), help), Shell.Lines(Shell.Run("bash", "--norc", "-c", asked)).Order());
        }
    }

    [Fact]
    public void Fish_completes_what_help_names()
    {
        using ScratchDirectory scratch = new();
        File.WriteAllText(scratch.PathOf("vmm.fish"), VmmProcess.Run("completion", "fish").Output);
        foreach ((string command, string help) in Help.Value)
        {
            string asked = $"source {scratch.PathOf("vmm.fish")}; complete -C '{command} --'";
            string answer = Shell.Run("env", $"HOME={scratch.PathOf("")}", "fish", "--no-config", "-c", asked);
            Assert.Equal(Options(HelpOption(), help), Shell.Lines(answer).Select(line => line.Split('\t')[0].TrimEnd('=')).Distinct().Order());
        }
    }

    [Fact]
    public void Zsh_completes_a_command_an_option_and_a_word()
    {
        using ScratchDirectory scratch = new();
        File.WriteAllText(scratch.PathOf("_vmm"), VmmProcess.Run("completion", "zsh").Output);
        string start = $"PS1=; fpath=('{scratch.PathOf("")}' $fpath); autoload -U compinit; compinit -u -d '{scratch.PathOf("dump")}'; PS1='rea''dy>'";
        Assert.Contains("vmm serve", Complete("vmm ser\t"));
        Assert.Contains("--require-sealed", Complete("vmm serve --req\t"));
        Assert.Contains("--stats json", Complete("vmm run --stats j\t"));
        Assert.Contains("--json", Complete("vmm bench vhost-user-blk --js\t"));

        // A shell with a terminal of its own, as a person has it. When its prompt is there, keys are typed; '^A' and a word turn the line into output.
        string Complete(string typed) => Shell.Run("zsh", "-f", "-c", $"""
            zmodload zsh/zpty; zpty shell zsh -f -i
            zpty -w shell {Quoted(start)}
            zpty -r -m shell text '*ready>*'
            zpty -w -n shell {Quoted(typed + "\u0001print -r -- \"<\" \u0005 \">\"\n")}
            zpty -r -m shell text '*<*>*' && print -r -- $text
            """);

        static string Quoted(string text) => $"'{text.Replace("'", "'\\''")}'";
    }

    [Fact]
    public void What_is_no_page_and_no_shell_is_refused_in_a_sentence()
    {
        foreach (string[] arguments in (string[][])[["manual", "vmm-frob"], ["completion", "tcsh"], ["completion"]])
        {
            VmmResult result = VmmProcess.Run(arguments);
            Assert.Equal(2, result.ExitCode);
            Assert.Single(result.Error.Split('\n', StringSplitOptions.RemoveEmptyEntries));
        }
    }

    private static IEnumerable<string> Options(Regex line, string text) =>
        line.Matches(text).SelectMany(names => LongOption().Matches(names.Value)).Select(option => option.Value).Distinct().Order();

    private static Dictionary<string, string> ReadHelp()
    {
        Dictionary<string, string> pages = [];
        Add("vmm");
        return pages;

        void Add(string command)
        {
            string help = VmmProcess.Run([.. command.Split(' ').Skip(1), "--help"]).Output;
            pages.Add(command, help);
            int commands = help.IndexOf("Commands:", StringComparison.Ordinal);
            if (commands < 0) return;
            foreach (Match child in HelpCommand().Matches(help[commands..])) Add($"{command} {child.Groups[1].Value}");
        }
    }

    /// <summary>The names at the beginning of an option's lines of help.</summary>
    [GeneratedRegex("^  -[^<\n]*?(?=  |<|$)", RegexOptions.Multiline)]
    private static partial Regex HelpOption();

    [GeneratedRegex("^  ([a-z][a-z-]*)", RegexOptions.Multiline)]
    private static partial Regex HelpCommand();

    [GeneratedRegex("--[a-z][a-z-]*")]
    private static partial Regex LongOption();

    /// <summary>The line of a manual page that names an option.</summary>
    [GeneratedRegex("^\\\\fB-.*$", RegexOptions.Multiline)]
    private static partial Regex DescribedOption();
}
