using System.Diagnostics;

namespace Vmm.Devices;

/// <summary>
/// Measures chains from pop to publish with two readings of the clock a batch instead of two a chain: a reading costs as much as walking a
/// short chain does. Chains popped since the last publish count from the first of them, chains published together end together.
/// </summary>
/// <param name="histogram">Where the latencies go, in nanoseconds.</param>
internal sealed class BatchLatency(LatencyHistogram histogram)
{
    /// <summary>Batches of popping whose chains may meet in one publish; with one more, those before are counted at once.</summary>
    private const int BatchesMax = 64;

    private static readonly double NanosecondsPerTick = 1e9 / Stopwatch.Frequency;

    /// <summary>Chains pushed since the last publish, those that were popped together as one.</summary>
    private readonly (long PoppedAt, int Chains)[] _pushed = new (long, int)[BatchesMax];
    private int _count;
    private long _batchStart;

    /// <summary>When the batch began, in ticks of <see cref="Stopwatch"/>; it begins now if it had not.</summary>
    internal long BatchStart => _batchStart != 0 ? _batchStart : _batchStart = Stopwatch.GetTimestamp();

    /// <summary>A chain was given back.</summary>
    internal void Pushed(long poppedAt)
    {
        if (_count > 0 && _pushed[_count - 1].PoppedAt == poppedAt)
        {
            _pushed[_count - 1].Chains++;
            return;
        }
        if (_count == _pushed.Length) Record();
        _pushed[_count++] = (poppedAt, 1);
    }

    /// <summary>The batch ends: what was given back is visible now.</summary>
    internal void Published()
    {
        _batchStart = 0;
        if (_count > 0) Record();
    }

    private void Record()
    {
        long now = Stopwatch.GetTimestamp();
        foreach ((long poppedAt, int chains) in _pushed.AsSpan(0, _count))
            histogram.Record((long)((now - poppedAt) * NanosecondsPerTick), chains);
        _count = 0;
    }
}
