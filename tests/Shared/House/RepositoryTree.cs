namespace Vmm.Tests.House;

/// <summary>Where the repository is, seen from the folder the tests run in.</summary>
internal static class RepositoryTree
{
    internal static string Root { get; } = FindRoot();

    internal static string PathOf(params string[] parts) => Path.Combine([Root, .. parts]);

    /// <summary>The C# files below a folder, by their path relative to it, with forward slashes.</summary>
    internal static IEnumerable<(string Relative, string Text)> SourcesBelow(string folder) =>
        from path in Directory.EnumerateFiles(folder, "*.cs", SearchOption.AllDirectories)
        let relative = Path.GetRelativePath(folder, path).Replace('\\', '/')
        where !relative.Split('/').Any(part => part is "bin" or "obj")
        orderby relative
        select (relative, File.ReadAllText(path));

    private static string FindRoot()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "vmm.sln"))) return folder.FullName;
        }
        throw new DirectoryNotFoundException($"no vmm.sln above {AppContext.BaseDirectory}: the house's rules are tested in a checkout");
    }
}
