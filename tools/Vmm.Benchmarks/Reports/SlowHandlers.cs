using System.Collections.Concurrent;
using Spectre.Console;
using Vmm.Events;

namespace Vmm.Benchmarks;

/// <summary>
/// What held a reactor's thread for more than a millisecond: a neighbour on that reactor waited as long. Only if asked for, because the
/// watch reads the clock twice for each handler.
/// </summary>
internal static class SlowHandlers
{
    private static readonly TimeSpan Limit = TimeSpan.FromMilliseconds(1);
    private static readonly ConcurrentDictionary<string, (int Times, TimeSpan Longest)> Seen = new();

    /// <summary>Whether reactors that are made from now on are watched.</summary>
    internal static bool AreWatched { get; set; }

    /// <summary>The options of a reactor, with the watch if it is asked for.</summary>
    internal static ReactorOptions Watch(ReactorOptions options) =>
        AreWatched ? options with { SlowHandlerAfter = Limit, OnSlowHandler = Add } : options;

    internal static void Print(IAnsiConsole console)
    {
        if (!AreWatched) return;
        if (Seen.IsEmpty) console.MarkupLineInterpolated($"no handler held a reactor for {Limit.TotalMilliseconds} ms");
        foreach ((string source, (int times, TimeSpan longest)) in Seen.OrderByDescending(each => each.Value.Longest))
        {
            double most = longest.TotalMilliseconds;
            console.MarkupLineInterpolated(
                $"{source} held its reactor beyond {Limit.TotalMilliseconds} ms: {times} times, {most:F1} ms at most");
        }
    }

    private static void Add(SlowHandler slow)
    {
        // Reported again when it has ended.
        if (slow.IsStillRunning) return;
        Seen.AddOrUpdate(slow.Source, (1, slow.Held),
            (_, before) => (before.Times + 1, slow.Held > before.Longest ? slow.Held : before.Longest));
    }
}
