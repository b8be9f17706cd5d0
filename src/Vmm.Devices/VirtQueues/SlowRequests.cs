using System.Diagnostics;

namespace Vmm.Devices;

/// <summary>
/// Requests of one kind that were taken and given back together, and were slow. Times are ticks of <see cref="Stopwatch"/>.
/// </summary>
/// <param name="PoppedAt">They were taken.</param>
/// <param name="PushedAt">The first request that was published together with them was given back: the device had done its work.</param>
/// <param name="PublishedAt">The driver could see them.</param>
/// <param name="Requests">How many there were.</param>
/// <param name="InFlight">Requests that were still in flight.</param>
internal readonly record struct SlowBatch(long PoppedAt, long PushedAt, long PublishedAt, int Requests, int InFlight);

/// <summary>
/// Spans of requests that took longer than a threshold, for listeners of the source <c>Vmm.Devices</c>
/// (System.Diagnostics.ActivitySource), each with a span for every part of its time. A request that was quick enough costs a comparison,
/// one that was not is made into spans only if a listener wants them.
/// </summary>
internal sealed class SlowRequests(string device, string queue, IReadOnlyList<string> kinds, TimeSpan threshold)
{
    /// <summary>
    /// Waits for the limit that are remembered. Of a request that is in flight for more than so many, the wait is not shown.
    /// </summary>
    private const int HeldMax = 64;

    private static readonly ActivitySource Source = new("Vmm.Devices");

    /// <summary>What waited for the limit before it was taken, the last ones.</summary>
    private readonly (long PoppedAt, TimeSpan Time)[] _held = new (long, TimeSpan)[HeldMax];
    private int _nextHeld;

    /// <summary>The threshold in nanoseconds.</summary>
    internal long Nanoseconds { get; } = (long)threshold.TotalNanoseconds;

    /// <summary>Requests that are taken at a time waited before, because their device's limit held the queue.</summary>
    internal void Held(long poppedAt, TimeSpan time)
    {
        _held[_nextHeld] = (poppedAt, time);
        _nextHeld = (_nextHeld + 1) % HeldMax;
    }

    /// <summary>Reports slow requests, which were published just now.</summary>
    internal void Report(int kind, in SlowBatch batch)
    {
        if (!Source.HasListeners()) return;
        DateTimeOffset published = DateTimeOffset.UtcNow;
        long publishedAt = batch.PublishedAt;
        // Others may have been given back already when these were taken.
        DateTimeOffset popped = TimeOf(batch.PoppedAt), pushed = TimeOf(Math.Max(batch.PoppedAt, batch.PushedAt));
        DateTimeOffset held = popped - HeldBefore(batch.PoppedAt);
        string name = kind < kinds.Count ? kinds[kind] : kinds[0];
        // It has no parent: what runs on a reactor's thread belongs to no request of this process.
        using Activity? span = Source.StartActivity($"{device} {name}", ActivityKind.Internal, default(ActivityContext),
        [
            new("vmm.device", device), new("vmm.queue", queue), new("vmm.request.kind", name), new("vmm.requests", batch.Requests),
            new("vmm.in_flight", batch.InFlight),
        ], links: null, startTime: held);
        if (span is null) return;
        Part("queue", held, popped);
        Part("backend", popped, pushed);
        Part("completion", pushed, published);
        span.SetEndTime(published.UtcDateTime);

        DateTimeOffset TimeOf(long timestamp) => published - Stopwatch.GetElapsedTime(timestamp, publishedAt);

        void Part(string part, DateTimeOffset from, DateTimeOffset to)
        {
            if (to == from) return;
            using Activity? child =
                Source.StartActivity(part, ActivityKind.Internal, span.Context, tags: null, links: null, startTime: from);
            child?.SetEndTime(to.UtcDateTime);
        }
    }

    private TimeSpan HeldBefore(long poppedAt)
    {
        foreach ((long at, TimeSpan time) in _held)
        {
            if (at == poppedAt) return time;
        }
        return TimeSpan.Zero;
    }
}
