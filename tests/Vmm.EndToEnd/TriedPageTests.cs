using System.Text.RegularExpressions;

namespace Vmm.EndToEnd;

/// <summary>docs/tried.md says what new users do, each beside its test: the tests are there, and so is what the pages link to.</summary>
public sealed partial class TriedPageTests
{
    [Fact]
    public void Every_test_that_the_page_names_is_there()
    {
        string page = File.ReadAllText(Repository.PathOf("docs/tried.md"));
        Dictionary<string, string> classes = Directory.GetFiles(Repository.PathOf("tests"), "*.cs", SearchOption.AllDirectories)
            .GroupBy(file => Path.GetFileNameWithoutExtension(file)).ToDictionary(files => files.Key, files => string.Concat(files.Select(File.ReadAllText)));
        Match[] named = Named().Matches(page).ToArray();
        Assert.True(named.Length > 40, $"{named.Length} tests are named");
        foreach (Match test in named)
        {
            string owner = test.Groups[1].Value, method = test.Groups[2].Value;
            Assert.True(classes.TryGetValue(owner, out string? source), $"there is no {owner}");
            Assert.True(method.Length == 0 || source.Contains($" {method}(", StringComparison.Ordinal), $"{owner} has no test {method}");
        }
        // What is not a test is a mistake of the page.
        Assert.All(page.Split('\n').Where(line => line.StartsWith("| ", StringComparison.Ordinal) && !line.Contains("shown by", StringComparison.Ordinal)),
            row => Assert.Matches(Named(), row));
    }

    [GeneratedRegex(@"`(\w+(?:Tests|Page))(?:\.(\w+))?`")]
    private static partial Regex Named();
}
