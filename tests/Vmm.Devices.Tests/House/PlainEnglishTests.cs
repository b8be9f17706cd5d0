using Vmm.Tests.House;

namespace Vmm.Devices.Tests.House;

/// <summary>docs/style.md, as far as a program can hold it.</summary>
public sealed class PlainEnglishTests
{
    private static readonly string[] Roots = ["src", "tools"];

    public static TheoryData<string> Folders => new(
        from root in Roots
        from file in RepositoryTree.SourcesBelow(RepositoryTree.PathOf(root))
        let folder = $"{root}/{Path.GetDirectoryName(file.Relative)!.Replace('\\', '/')}"
        group folder by folder into folders
        select folders.Key);

    [Theory, MemberData(nameof(Folders))]
    public void A_folder_is_written_in_plain_English(string folder)
    {
        string[] violations =
        [
            .. Directory.EnumerateFiles(RepositoryTree.PathOf(folder), "*.cs").Order()
                .SelectMany(path => PlainEnglish.Violations(Path.GetRelativePath(RepositoryTree.Root, path), File.ReadAllText(path))),
        ];
        Assert.True(violations.Length == 0, string.Join('\n', violations));
    }

    [Theory]
    [InlineData("    // Whoever comes first takes it.", "Whoever")]
    [InlineData("    /// <summary>The driver is told of it.</summary>", "told")]
    [InlineData("    Uri address = new(\"http://nobody.example\");", null)]
    [InlineData("    Tell(driver); // The driver is notified.", null)]
    public void Words_are_looked_for_in_comments(string line, string? word) => Assert.Equal(word, PlainEnglish.AvoidedWord(line));

    [Fact]
    public void A_wide_line_is_found() =>
        Assert.Equal(["a.cs:2: 141 columns; break the line at 140"], PlainEnglish.Violations("a.cs", "x\n" + new string('x', 141)));
}
