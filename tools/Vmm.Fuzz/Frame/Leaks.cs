using System.Runtime.InteropServices;

namespace Vmm.Fuzz;

/// <summary>
/// What the whole process holds: descriptors, by what they are, and memory. Looked at where nothing else runs in the process.
/// </summary>
internal sealed class Leaks
{
    private const long GrowthBytesMax = 8 << 20;

    /// <summary>
    /// How often the runtime opens an assembly: to load it, to find its symbols for a trace. A leak of each execution is more by far.
    /// </summary>
    private const int AssemblyOpensMax = 4;

    private readonly Dictionary<string, int> _descriptors = Descriptors();
    private readonly long _bytes = GC.GetTotalMemory(forceFullCollection: true);

    /// <summary>What is there now that was not when this was made; null if nothing.</summary>
    internal string? Find()
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
        long grown = GC.GetTotalMemory(forceFullCollection: true) - _bytes;
        string[] kept =
        [
            .. Descriptors().Select(now => (What: now.Key, More: now.Value - _descriptors.GetValueOrDefault(now.Key), All: now.Value))
                .Where(now => now.More > 0 && !(now.All <= AssemblyOpensMax && IsAssembly(now.What)))
                    .Select(now => $"{now.More} × {now.What}"),
            .. grown > GrowthBytesMax ? [$"{grown} bytes"] : Array.Empty<string>(),
        ];
        return kept.Length == 0 ? null : $"left behind: {string.Join(", ", kept)}";
    }

    /// <summary>Whether the runtime may have opened this, as it does with an assembly when it comes to need it.</summary>
    private static bool IsAssembly(string path) =>
        path.EndsWith(".dll", StringComparison.Ordinal)
        && (path.StartsWith(AppContext.BaseDirectory, StringComparison.Ordinal)
            || path.StartsWith(RuntimeEnvironment.GetRuntimeDirectory(), StringComparison.Ordinal));

    /// <summary>Sockets and pipes are counted by kind: their numbers mean nothing.</summary>
    private static Dictionary<string, int> Descriptors() =>
        Directory.GetFiles("/proc/self/fd").Select(path => new FileInfo(path).LinkTarget ?? "gone").Where(each => each != "gone")
            .GroupBy(each => each.StartsWith('/') ? each : each.Split('[')[0]).ToDictionary(group => group.Key, group => group.Count());
}
