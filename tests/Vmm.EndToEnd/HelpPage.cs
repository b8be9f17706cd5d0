using System.Text;
using System.Text.RegularExpressions;

namespace Vmm.EndToEnd;

/// <summary>
/// docs/help.txt is what <c>--help</c> of every command prints. A change that is meant is accepted with VMM_ACCEPT_HELP=1, and its diff is
/// reviewed.
/// </summary>
public sealed partial class HelpPage
{
    private const int Columns = 80;

    [Fact]
    public void Is_what_every_command_prints_in_80_columns()
    {
        StringBuilder page = new();
        Add([], page);
        string file = Repository.PathOf("docs/help.txt"), printed = page.ToString();
        Assert.All(printed.Split('\n'), line => Assert.True(line.Length <= Columns, $"{line.Length} columns: {line}"));
        if (Environment.GetEnvironmentVariable("VMM_ACCEPT_HELP") == "1") File.WriteAllText(file, printed);
        Assert.True(File.ReadAllText(file) == printed, "docs/help.txt is not what --help prints: look at both, and accept it with VMM_ACCEPT_HELP=1");
    }

    /// <summary>A command, and those below it that its help names.</summary>
    private static void Add(string[] command, StringBuilder page)
    {
        VmmResult help = VmmProcess.Run([.. command, "--help"]);
        Assert.Equal((0, ""), (help.ExitCode, help.Error));
        page.Append($"$ vmm {string.Join(' ', [.. command, "--help"])}\n");
        foreach (string line in help.Output.TrimEnd('\n').Split('\n')) page.Append(line.TrimEnd()).Append('\n');
        page.Append('\n');
        int at = help.Output.IndexOf("\nCommands:\n", StringComparison.Ordinal);
        if (at < 0) return;
        foreach (Match below in Named().Matches(help.Output[at..])) Add([.. command, below.Groups[1].Value], page);
    }

    [GeneratedRegex(@"^  ([a-z][a-z-]*)", RegexOptions.Multiline)]
    private static partial Regex Named();
}
