using System.Text.RegularExpressions;

namespace Vmm.EndToEnd;

/// <summary>What the README shows is what there is: its commands run, its files are the files.</summary>
public sealed partial class ReadmeTests
{
    private const string ToolPrefix = "dotnet run -c Release --project tools/vmm -- ";

    private static readonly string Readme = File.ReadAllText(Repository.PathOf("README.md"));

    [Fact]
    public void The_main_command_does_what_its_screen_shows()
    {
        string command = Commands().First(line => line.StartsWith(ToolPrefix, StringComparison.Ordinal));
        VmmResult result = VmmProcess.Run(Split(command[ToolPrefix.Length..]));
        Assert.Equal(0, result.ExitCode);
        string screen = Fences().First(fence => fence.Language == "text").Content;
        string[] promised = [.. screen.Split('\n').Where(line => line.Contains("vda", StringComparison.Ordinal) && !line.Contains('│', StringComparison.Ordinal))];
        Assert.NotEmpty(promised);
        Assert.All(promised, line => Assert.Contains(line, result.Lines));
    }

    [Fact]
    public void The_test_command_is_there_and_is_what_the_integration_runs()
    {
        Assert.Contains("./tools/test.sh", Commands());
        Assert.True(File.GetUnixFileMode(Repository.PathOf("tools/test.sh")).HasFlag(UnixFileMode.UserExecute));
        Assert.Contains("./tools/test.sh", File.ReadAllText(Repository.PathOf(".ci/run")));
    }

    [Fact]
    public void Every_project_a_command_names_is_there()
    {
        string[] projects = [.. Commands().SelectMany(line => Project().Matches(line)).Select(match => match.Groups[1].Value)];
        Assert.NotEmpty(projects);
        Assert.All(projects, project => Assert.True(Directory.Exists(Repository.PathOf(project)), project));
    }

    [Fact]
    public void Every_vmm_command_it_shows_is_one_the_tool_knows()
    {
        foreach (string command in Commands().Where(line => line.StartsWith(ToolPrefix, StringComparison.Ordinal)))
        {
            string verb = Split(command[ToolPrefix.Length..])[0];
            VmmResult help = VmmProcess.Run(verb, "--help");
            Assert.Equal(0, help.ExitCode);
            foreach (string option in Split(command).Where(word => word.StartsWith("--", StringComparison.Ordinal) && word is not ("--" or "--project")))
                Assert.Contains(option, help.Output);
        }
    }

    [Fact]
    public void A_file_it_shows_is_that_file()
    {
        MatchCollection shown = ShownFile().Matches(Readme);
        Assert.NotEmpty(shown);
        foreach (Match file in shown) Assert.Equal(File.ReadAllText(Repository.PathOf(file.Groups[1].Value)), file.Groups[2].Value);
    }

    [Fact]
    public void Every_other_piece_of_code_is_compiled_word_for_word()
    {
        string compiled = Words(File.ReadAllText(Repository.PathOf("tests/Vmm.Devices.Tests/Examples/Snippets.cs")));
        string[] files = [.. ShownFile().Matches(Readme).Select(file => file.Groups[2].Value)];
        foreach ((_, string content) in Fences().Where(fence => fence.Language == "csharp" && !files.Contains(fence.Content)))
            Assert.Contains(Words(content), compiled);
    }

    [Fact]
    public void Every_link_leads_somewhere()
    {
        foreach (Match link in Link().Matches(Readme))
        {
            string target = Repository.PathOf(link.Groups[1].Value);
            Assert.True(File.Exists(target) || Directory.Exists(target), $"README.md links to {link.Groups[1].Value}, which is not there");
        }
    }

    private static IEnumerable<(string Language, string Content)> Fences() =>
        Fence().Matches(Readme).Select(match => (match.Groups[1].Value, match.Groups[2].Value));

    private static IEnumerable<string> Commands() => Fences().Where(fence => fence.Language == "sh")
        .SelectMany(fence => fence.Content.Split('\n', StringSplitOptions.RemoveEmptyEntries));

    private static string Words(string code) => string.Join(' ', code.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));

    /// <summary>The words of a command line, with double quotes as a shell reads them.</summary>
    private static string[] Split(string command) => [.. Word().Matches(command).Select(word => word.Value.Trim('"'))];

    [GeneratedRegex("^```(\\w+)\n(.*?)^```$", RegexOptions.Multiline | RegexOptions.Singleline)]
    private static partial Regex Fence();

    [GeneratedRegex("<!-- file: (\\S+) -->\n```csharp\n(.*?)```", RegexOptions.Singleline)]
    private static partial Regex ShownFile();

    [GeneratedRegex("--project (\\S+)")]
    private static partial Regex Project();

    [GeneratedRegex("\\]\\((?!http)([^)#]+)")]
    private static partial Regex Link();

    [GeneratedRegex("\"[^\"]*\"|\\S+")]
    private static partial Regex Word();
}
