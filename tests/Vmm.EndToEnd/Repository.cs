using System.Runtime.CompilerServices;

namespace Vmm.EndToEnd;

/// <summary>Where this checkout is, for tests that run what a user would run.</summary>
internal static class Repository
{
    internal static string Root { get; } = FindRoot();

    internal static string PathOf(string relative) => Path.Combine(Root, relative);

    private static string FindRoot([CallerFilePath] string here = "")
    {
        DirectoryInfo? directory = new FileInfo(here).Directory;
        while (directory is not null && !File.Exists(Path.Combine(directory.FullName, "vmm.sln"))) directory = directory.Parent;
        return directory?.FullName ?? throw new InvalidOperationException($"no vmm.sln above {here}");
    }
}
