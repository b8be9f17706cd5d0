using System.Diagnostics;

namespace Vmm.Devices;

/// <summary>
/// Measures chains from pop to publish with two readings of the clock a batch instead of two a chain: a reading costs as much as walking a
/// short chain does. Chains popped since the last publish count from the first of them, chains published together end together.
/// </summary>
/// <param name="histogram">Where the latencies go, in nanoseconds.</param>
/// <param name="capacity">Chains remembered until a publish; one more is counted at once.</param>
internal sealed class BatchLatency(LatencyHistogram histogram, int capacity)
{
    private static readonly double NanosecondsPerTick = 1e9 / Stopwatch.Frequency;

    private readonly long[] _poppedAt = new long[capacity];
    private int _pushed;
    private long _batchStart;

    /// <summary>When the batch began, in ticks of <see cref="Stopwatch"/>; it begins now if it had not.</summary>
    internal long BatchStart => _batchStart != 0 ? _batchStart : _batchStart = Stopwatch.GetTimestamp();

    /// <summary>A chain was given back.</summary>
    internal void Pushed(long poppedAt)
    {
        if (_pushed == _poppedAt.Length) Published();
        _poppedAt[_pushed++] = poppedAt;
    }

    /// <summary>The batch ends: what was given back is visible now.</summary>
    internal void Published()
    {
        _batchStart = 0;
        if (_pushed == 0) return;
        long now = Stopwatch.GetTimestamp();
        foreach (long poppedAt in _poppedAt.AsSpan(0, _pushed)) histogram.Record((long)((now - poppedAt) * NanosecondsPerTick));
        _pushed = 0;
    }
}
