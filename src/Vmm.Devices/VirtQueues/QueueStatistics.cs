namespace Vmm.Devices;

/// <summary>
/// What a queue did. Written by the thread that serves the queue, one at a time; readable from any thread, each number for itself.
/// </summary>
public sealed class QueueStatistics
{
    /// <summary>Most kinds of requests whose latencies are kept apart.</summary>
    internal const int KindsMax = 8;

    /// <summary>The first kinds of a device are those that every driver asks for.</summary>
    private const int UsualKinds = 4;

    private long _kicks, _requests, _bytes, _interrupts, _faults, _throttled;

    /// <summary>Kicks that arrived.</summary>
    public long Kicks => Volatile.Read(ref _kicks);

    /// <summary>Chains given back.</summary>
    public long Requests => Volatile.Read(ref _requests);

    /// <summary>Bytes the device could read plus bytes it wrote, over all chains given back.</summary>
    public long Bytes => Volatile.Read(ref _bytes);

    /// <summary>Interrupts asked for.</summary>
    public long Interrupts => Volatile.Read(ref _interrupts);

    /// <summary>Guest faults.</summary>
    public long Faults => Volatile.Read(ref _faults);

    /// <summary>How long it waited because its device's <see cref="RateLimit"/> had no token.</summary>
    public TimeSpan Throttled => TimeSpan.FromTicks(Volatile.Read(ref _throttled));

    /// <summary>Nanoseconds from pop to publish over all kinds of requests, as measured so far: a copy.</summary>
    public LatencyHistogram Latency
    {
        get
        {
            LatencyHistogram all = new();
            for (int kind = 0; kind < KindsMax; kind++)
            {
                if (LatencyOf(kind) is { } measured) all.Merge(measured);
            }
            return all;
        }
    }

    // Made when a queue that measures starts, and those that few drivers ask for when they first measure (decision 76).
    private LatencyHistogram?[]? _latencies;

    /// <summary>Nanoseconds from pop to publish of one kind of requests; null if none was measured yet.</summary>
    /// <param name="kind">An index into the device's <see cref="VirtioDevice.RequestKinds"/>.</param>
    public LatencyHistogram? LatencyOf(int kind) =>
        Volatile.Read(ref _latencies) is { } made && Volatile.Read(ref made[kind]) is { Max: > 0 } measured ? measured : null;

    /// <summary>Makes room for the usual ones of some kinds, so that recording them allocates nothing.</summary>
    internal void Reserve(int kinds)
    {
        LatencyHistogram?[] latencies = _latencies ?? Made(ref _latencies, new LatencyHistogram?[KindsMax]);
        for (int kind = 0; kind < Math.Min(kinds, UsualKinds); kind++)
            (latencies[kind] ?? Made(ref latencies[kind], new LatencyHistogram())).Reserve();
    }

    internal void Record(int kind, long nanoseconds, int times)
    {
        LatencyHistogram?[] latencies = _latencies ?? Made(ref _latencies, new LatencyHistogram?[KindsMax]);
        (latencies[kind] ?? Made(ref latencies[kind], new LatencyHistogram())).Record(nanoseconds, times);
    }

    private static T Made<T>(ref T? place, T made) where T : class
    {
        Volatile.Write(ref place, made);
        return made;
    }

    internal void CountKick() => Volatile.Write(ref _kicks, _kicks + 1);

    internal void CountInterrupt() => Volatile.Write(ref _interrupts, _interrupts + 1);

    internal void CountFault() => Volatile.Write(ref _faults, _faults + 1);

    internal void CountThrottled(TimeSpan held) => Volatile.Write(ref _throttled, _throttled + held.Ticks);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void CountRequest(ulong bytes)
    {
        Volatile.Write(ref _requests, _requests + 1);
        Volatile.Write(ref _bytes, _bytes + (long)bytes);
    }
}
