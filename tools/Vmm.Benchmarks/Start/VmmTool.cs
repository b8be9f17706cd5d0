namespace Vmm.Benchmarks;

/// <summary>The tool, for what starts it beside itself.</summary>
internal static class VmmTool
{
    /// <summary>The published file that VMM_TOOL names; null where it names none.</summary>
    internal static string? PublishedFile { get; } =
        Environment.GetEnvironmentVariable("VMM_TOOL") is { Length: > 0 } path ? Path.GetFullPath(path) : null;

    /// <summary>The build beside this program, which needs the .NET runtime.</summary>
    internal static string Assembly { get; } = Path.GetFullPath(Path.Combine(AppContext.BaseDirectory, "..", "..", "vmm",
        Path.GetFileName(Path.TrimEndingDirectorySeparator(AppContext.BaseDirectory)), "vmm.dll"));

    /// <summary>The command that starts it: the published file, or else the build beside this program.</summary>
    internal static string[] Command { get; } = PublishedFile is { } file ? [file] : ["dotnet", Assembly];
}
