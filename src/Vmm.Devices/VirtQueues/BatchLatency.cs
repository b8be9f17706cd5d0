using System.Diagnostics;
using System.Runtime.CompilerServices;

namespace Vmm.Devices;

/// <summary>
/// Measures chains from pop to publish with two readings of the clock a batch instead of two a chain: a reading costs as much as walking a
/// short chain does. Chains popped since the last publish count from the first of them, chains published together end together.
/// </summary>
/// <param name="statistics">Where the latencies go, by kind of request, in nanoseconds.</param>
internal sealed class BatchLatency(QueueStatistics statistics)
{
    /// <summary>Batches of popping whose chains may meet in one publish; with one more, those before are counted at once.</summary>
    private const int BatchesMax = 64;

    private static readonly double NanosecondsPerTick = 1e9 / Stopwatch.Frequency;

    /// <summary>Chains pushed since the last publish, those that were popped together as one.</summary>
    private readonly (long PoppedAt, Kinds Chains)[] _pushed = new (long, Kinds)[BatchesMax];
    private int _count;
    private long _batchStart;

    /// <summary>When the batch began, in ticks of <see cref="Stopwatch"/>; it begins now if it had not.</summary>
    internal long BatchStart => _batchStart != 0 ? _batchStart : _batchStart = Stopwatch.GetTimestamp();

    /// <summary>A chain was given back.</summary>
    internal void Pushed(long poppedAt, int kind)
    {
        if (_count == 0 || _pushed[_count - 1].PoppedAt != poppedAt)
        {
            if (_count == _pushed.Length) Record();
            _pushed[_count++] = (poppedAt, default);
        }
        _pushed[_count - 1].Chains[kind]++;
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
        foreach (ref (long PoppedAt, Kinds Chains) batch in _pushed.AsSpan(0, _count))
        {
            long latency = (long)((now - batch.PoppedAt) * NanosecondsPerTick);
            for (int kind = 0; kind < QueueStatistics.KindsMax; kind++)
            {
                if (batch.Chains[kind] > 0) statistics.Record(kind, latency, batch.Chains[kind]);
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
