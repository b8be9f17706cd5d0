using Vmm.Tests.House;

namespace Vmm.Devices.Tests.House;

/// <summary>docs/style.md, as far as a program can hold it.</summary>
public sealed class PlainEnglishTests
{
    private static readonly string[] Roots = ["src", "tools", "docs/examples"];

    /// <summary>It quotes what it forbids.</summary>
    private const string StylePage = "docs/style.md";

    public static TheoryData<string> Folders => new(
        from root in Roots
        from file in RepositoryTree.SourcesBelow(RepositoryTree.PathOf(root))
        let folder = $"{root}/{Path.GetDirectoryName(file.Relative)!.Replace('\\', '/')}"
        group folder by folder into folders
        select folders.Key);

    [Theory, MemberData(nameof(Folders))]
    public void A_folder_is_written_in_plain_English(string folder) => AssertNone(
        Directory.EnumerateFiles(RepositoryTree.PathOf(folder), "*.cs").Order()
            .SelectMany(path => PlainEnglish.Violations(Path.GetRelativePath(RepositoryTree.Root, path), File.ReadAllText(path))));

    [Fact]
    public void Pages_are_written_in_plain_English()
    {
        string[] pages =
        [
            .. Directory.EnumerateFiles(RepositoryTree.Root, "*.md"),
            .. Directory.EnumerateFiles(RepositoryTree.PathOf("docs"), "*.md", SearchOption.AllDirectories),
            .. Directory.EnumerateFiles(RepositoryTree.PathOf("tests"), "*.md"),
        ];
        string[] names = [.. pages.Select(page => Path.GetRelativePath(RepositoryTree.Root, page)).Where(name => name != StylePage).Order()];
        Assert.Contains("README.md", names);
        Assert.Contains("docs/guide/1-reactor.md", names);
        AssertNone(names.SelectMany(name => PlainEnglish.ViolationsOfPage(name, File.ReadAllText(RepositoryTree.PathOf(name)))));
    }

    [Theory]
    [InlineData("    // Whoever comes first takes it.", "Whoever")]
    [InlineData("    /// <summary>The driver is told of it.</summary>", "told")]
    [InlineData("    throw new IOException(\"a save is on its way\");", "way")]
    [InlineData("    Say(\"\\\"\", \"for people\");", "people")]
    [InlineData("    Uri address = new(\"http://host.example\");", null)]
    [InlineData("    Tell(driver, \"it\"); // The driver is notified.", null)]
    public void Words_are_looked_for_in_comments_and_strings(string line, string? word) => Assert.Equal(word, PlainEnglish.AvoidedWord(line));

    [Fact]
    public void Words_are_looked_for_in_pages_and_not_in_names() =>
        Assert.Equal(["a.md:2: it says 'ways'; docs/style.md has the word to use"],
            PlainEnglish.ViolationsOfPage("a.md", "The user `nobody`.\nThree ways.\n"));

    [Fact]
    public void A_wide_line_is_found() =>
        Assert.Equal(["a.cs:2: 141 columns; break the line at 140"], PlainEnglish.Violations("a.cs", "x\n" + new string('x', 141)));

    private static void AssertNone(IEnumerable<string> violations) => Assert.True(!violations.Any(), string.Join('\n', violations));
}
