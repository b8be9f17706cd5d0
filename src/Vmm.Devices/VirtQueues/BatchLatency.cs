using System.Diagnostics;

namespace Vmm.Devices;

/// <summary>
/// Measures chains from pop to publish with two readings of the clock a batch instead of two a chain: a reading costs as much as walking a
/// short chain does. Chains popped since the last publish count from the first of them, chains published together end together.
/// </summary>
/// <param name="statistics">Where the latencies go, by kind of request, in nanoseconds.</param>
/// <param name="slow">Gets those that took too long; null for no threshold.</param>
internal sealed class BatchLatency(QueueStatistics statistics, SlowRequests? slow = null)
{
    /// <summary>Batches of popping whose chains may meet in one publish; with one more, those before are counted at once.</summary>
    private const int BatchesMax = 64;

    private static readonly double NanosecondsPerTick = 1e9 / Stopwatch.Frequency;

    /// <summary>Chains pushed since the last publish, those that were popped together as one.</summary>
    private readonly (long PoppedAt, Kinds Chains)[] _pushed = new (long, Kinds)[BatchesMax];
    private int _count;
    /// <summary>The last of them, which more chains may be of; none if the time is 0.</summary>
    private long _openPoppedAt;
    private Kinds _open;
    private long _batchStart;
    /// <summary>When the first chain that is not published was given back; only where slow requests are reported.</summary>
    private long _firstPushed;

    /// <summary>When the batch began, in ticks of <see cref="Stopwatch"/>; it begins now if it had not.</summary>
    internal long BatchStart
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => _batchStart != 0 ? _batchStart : Begin();
    }

    /// <summary>When the batch began; 0 if no chain was popped since the last publish.</summary>
    internal long BegunAt => _batchStart;

    /// <summary>Whether a chain was popped together with the one that was pushed last.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal bool IsOpen(long poppedAt) => poppedAt == _openPoppedAt;

    /// <summary>A chain was given back for which <see cref="IsOpen"/> holds.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void PushedToOpen(int kind) => _open[kind]++;

    /// <summary>A chain was given back.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Pushed(long poppedAt, int kind)
    {
        if (poppedAt != _openPoppedAt) Open(poppedAt);
        PushedToOpen(kind);
    }

    /// <summary>The chains that are popped next waited until now: their device's limit held the queue.</summary>
    internal void Held(TimeSpan time) => slow?.Held(BatchStart, time);

    /// <summary>The batch ends: what was given back is visible now. So many requests are still in flight.</summary>
    internal void Published(int inFlight)
    {
        _batchStart = 0;
        if (_openPoppedAt == 0) return;
        Open(0);
        Record(inFlight);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private long Begin() => _batchStart = Stopwatch.GetTimestamp();

    [MethodImpl(MethodImplOptions.NoInlining)]
    private void Open(long poppedAt)
    {
        if (_openPoppedAt != 0)
        {
            if (_count == _pushed.Length) Record(inFlight: 0);
            _pushed[_count++] = (_openPoppedAt, _open);
        }
        else if (slow is not null)
        {
            _firstPushed = Stopwatch.GetTimestamp();
        }
        _openPoppedAt = poppedAt;
        _open = default;
    }

    private void Record(int inFlight)
    {
        long now = Stopwatch.GetTimestamp();
        foreach (ref (long PoppedAt, Kinds Chains) batch in _pushed.AsSpan(0, _count))
        {
            long latency = (long)((now - batch.PoppedAt) * NanosecondsPerTick);
            for (int kind = 0; kind < QueueStatistics.KindsMax; kind++)
            {
                if (batch.Chains[kind] == 0) continue;
                statistics.Record(kind, latency, batch.Chains[kind]);
                if (slow is not null && latency >= slow.Nanoseconds)
                    slow.Report(kind, new SlowBatch(batch.PoppedAt, _firstPushed, now, batch.Chains[kind], inFlight));
            }
        }
        _count = 0;
    }

    /// <summary>How many chains there are of each kind.</summary>
    [InlineArray(QueueStatistics.KindsMax)]
    private struct Kinds
    {
        private int _first;
    }
}
