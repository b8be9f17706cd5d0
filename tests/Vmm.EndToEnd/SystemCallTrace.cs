using System.Text.RegularExpressions;

namespace Vmm.EndToEnd;

/// <summary>The tool under strace(1): what each of its processes asks of the kernel once its sandbox is complete.</summary>
internal sealed partial class SystemCallTrace : IDisposable
{
    private readonly string _file;

    /// <param name="scratch">Gets the trace.</param>
    /// <param name="wrapper">A command to run it under; empty for none.</param>
    /// <param name="arguments">The tool's.</param>
    internal SystemCallTrace(ScratchDirectory scratch, string[] wrapper, params string[] arguments)
    {
        _file = scratch.PathOf($"trace{Guid.NewGuid():n}");
        Vmm = new VmmProcess([.. wrapper, "strace", "-f", "-qq", "-o", _file], arguments);
    }

    internal VmmProcess Vmm { get; }

    public void Dispose() => Vmm.Dispose();

    /// <summary>Has it stop, waits for that, and gives what <see cref="Calls"/> does.</summary>
    /// <param name="exitCode">What it ends with.</param>
    internal IReadOnlySet<string> Stop(int exitCode = 0)
    {
        // The first to be started is the tool; a broker is its child.
        Shell.Run("kill", "-TERM", File.ReadAllText($"/proc/{Vmm.Id}/task/{Vmm.Id}/children").Trim());
        return Calls(exitCode);
    }

    /// <summary>Once it has ended, the calls of all processes that laid a filter, made after it; all calls where none did.</summary>
    /// <param name="exitCode">What it ends with.</param>
    internal IReadOnlySet<string> Calls(int exitCode = 0)
    {
        VmmResult result = Vmm.WaitForExit();
        Assert.True(result.ExitCode == exitCode, $"exit code {result.ExitCode}: {result.Error}");
        string[] lines = File.ReadAllLines(_file);
        Dictionary<string, string> processOf = ProcessesOf(lines);
        Dictionary<string, int> closed = [];
        for (int i = 0; i < lines.Length; i++)
            if (Filter().Match(lines[i]) is { Success: true } filter) closed[processOf.GetValueOrDefault(filter.Groups[1].Value, filter.Groups[1].Value)] = i;
        SortedSet<string> made = new(StringComparer.Ordinal);
        for (int i = 0; i < lines.Length; i++)
        {
            if (Call().Match(lines[i]) is not { Success: true } call) continue;
            string thread = call.Groups[1].Value;
            if (closed.Count == 0 || closed.TryGetValue(processOf.GetValueOrDefault(thread, thread), out int from) && i > from)
                made.Add(call.Groups[2].Value);
        }
        return made;
    }

    /// <summary>Of each thread that another started, its process.</summary>
    private static Dictionary<string, string> ProcessesOf(string[] lines)
    {
        Dictionary<string, string> starterOf = [];
        HashSet<string> starting = [];
        foreach (string line in lines)
        {
            if (Start().Match(line) is not { Success: true } start) continue;
            string thread = start.Groups[1].Value;
            bool isRest = start.Groups[2].Success;
            // The flags are in the first half of a call that another thread's came into.
            bool makesThread = isRest ? starting.Remove(thread) : line.Contains("CLONE_THREAD", StringComparison.Ordinal);
            if (line.EndsWith("<unfinished ...>", StringComparison.Ordinal)) _ = makesThread && starting.Add(thread);
            else if (makesThread && Started().Match(line) is { Success: true } started) starterOf[started.Groups[1].Value] = thread;
        }
        return starterOf.ToDictionary(each => each.Key, each =>
        {
            string process = each.Value;
            while (starterOf.TryGetValue(process, out string? starter)) process = starter;
            return process;
        });
    }

    [GeneratedRegex(@"^(\d+) +([a-z_0-9]+)\(")]
    private static partial Regex Call();

    [GeneratedRegex(@"^(\d+) +(?:seccomp\(|<\.\.\. seccomp resumed>).*SECCOMP_FILTER_FLAG_TSYNC\|SECCOMP_FILTER_FLAG_LOG")]
    private static partial Regex Filter();

    [GeneratedRegex(@"^(\d+) +(<\.\.\. )?clone3?[ (]")]
    private static partial Regex Start();

    [GeneratedRegex(@" = (\d+)$")]
    private static partial Regex Started();
}
