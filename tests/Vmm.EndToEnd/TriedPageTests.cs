using System.Text.RegularExpressions;

namespace Vmm.EndToEnd;

/// <summary>Pages that say what is promised or was tried, each thing beside its test: the tests are there.</summary>
public sealed partial class TriedPageTests
{
    [Theory]
    [InlineData("docs/tried.md", 40)]
    [InlineData("docs/operations/README.md", 40)]
    [InlineData("docs/operations/fleet.md", 5)]
    public void Every_test_that_a_page_names_is_there(string path, int least)
    {
        string page = File.ReadAllText(Repository.PathOf(path));
        page = page[page.IndexOf("| shown by |", StringComparison.Ordinal)..];
        Dictionary<string, string> classes = Directory.GetFiles(Repository.PathOf("tests"), "*.cs", SearchOption.AllDirectories)
            .GroupBy(file => Path.GetFileNameWithoutExtension(file)).ToDictionary(files => files.Key, files => string.Concat(files.Select(File.ReadAllText)));
        Match[] named = Named().Matches(page).ToArray();
        Assert.True(named.Length > least, $"{named.Length} tests are named");
        foreach (Match test in named)
        {
            string owner = test.Groups[1].Value, method = test.Groups[2].Value;
            Assert.True(classes.TryGetValue(owner, out string? source), $"there is no {owner}");
            Assert.True(method.Length == 0 || source.Contains($" {method}(", StringComparison.Ordinal), $"{owner} has no test {method}");
        }
        // What is not a test is a mistake of the page.
        Assert.All(page.Split('\n').Where(line => line.StartsWith("| ", StringComparison.Ordinal) && !line.Contains("shown by", StringComparison.Ordinal)),
            row => Assert.Matches(Elsewhere(), row));
    }

    [GeneratedRegex(@"`(\w+(?:Tests|Page))(?:\.(\w+))?`")]
    private static partial Regex Named();

    /// <summary>A test, or a page that names them.</summary>
    [GeneratedRegex(@"`\w+(?:Tests|Page)(?:\.\w+)?`|\]\(\w+\.md#")]
    private static partial Regex Elsewhere();
}
