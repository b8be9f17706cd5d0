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

    /// <summary>The README and the guides.</summary>
    public static TheoryData<string> Pages =>
    [
        "README.md", .. Directory.GetFiles(Repository.PathOf("docs/guide")).Select(page => Path.GetRelativePath(Repository.PathOf("."), page)).Order(),
    ];

    [Theory, MemberData(nameof(Pages))]
    public void Every_piece_of_code_is_a_file_or_compiled_word_for_word(string page)
    {
        string text = File.ReadAllText(Repository.PathOf(page));
        MatchCollection shown = ShownFile().Matches(text);
        foreach (Match file in shown) Assert.Equal(File.ReadAllText(Repository.PathOf(file.Groups[1].Value)), file.Groups[2].Value);
        string compiled = Words(File.ReadAllText(Repository.PathOf("tests/Vmm.Devices.Tests/Examples/Snippets.cs")));
        foreach ((_, string content) in Fences(text).Where(fence => fence.Language == "csharp" && !shown.Any(file => file.Groups[2].Value == fence.Content)))
            Assert.Contains(Words(content), compiled);
    }

    [Theory, MemberData(nameof(Pages))]
    public void Every_link_leads_somewhere(string page)
    {
        string directory = Path.GetDirectoryName(Repository.PathOf(page))!;
        foreach (Match link in Link().Matches(File.ReadAllText(Repository.PathOf(page))))
        {
            string target = Path.Combine(directory, link.Groups[1].Value);
            Assert.True(File.Exists(target) || Directory.Exists(target), $"{page} links to {link.Groups[1].Value}, which is not there");
        }
    }

    [Theory, MemberData(nameof(Pages))]
    public void Every_vmm_command_of_a_page_has_the_options_it_is_shown_with(string page)
    {
        foreach (string command in Commands(File.ReadAllText(Repository.PathOf(page))).Where(line => line.StartsWith("vmm ", StringComparison.Ordinal)))
        {
            string[] words = Split(command);
            VmmResult help = VmmProcess.Run(words[1], "--help");
            Assert.Equal(0, help.ExitCode);
            foreach (string option in words.Where(word => word.StartsWith("--", StringComparison.Ordinal))) Assert.Contains(option, help.Output);
        }
    }

    [Fact]
    public void The_configuration_of_the_guide_is_one_that_vmm_takes()
    {
        using ScratchDirectory scratch = new();
        string toml = Fences(File.ReadAllText(Repository.PathOf("docs/guide/7-operate.md"))).Single(fence => fence.Language == "toml").Content;
        File.WriteAllText(scratch.PathOf("disk.toml"), toml);
        VmmResult check = VmmProcess.Run("check", scratch.PathOf("disk.toml"));
        Assert.True(check.ExitCode == 0, check.Error);
    }

    private static IEnumerable<(string Language, string Content)> Fences(string? page = null) =>
        Fence().Matches(page ?? Readme).Select(match => (match.Groups[1].Value, match.Groups[2].Value));

    private static IEnumerable<string> Commands(string? page = null) => Fences(page).Where(fence => fence.Language == "sh")
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
