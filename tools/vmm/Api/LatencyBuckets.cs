using Vmm.Devices;

namespace Vmm.Tool;

/// <summary>The latency of disks as a histogram of few buckets, by kind of request: read from outside, while reactors work.</summary>
internal static class LatencyBuckets
{
    /// <summary>
    /// Bounds of latency, as powers of two nanoseconds: from 16 µs to 17 ms each twice the one before, then further apart, up to 8.6 s.
    /// They are few because each costs a line for each disk.
    /// </summary>
    private static readonly int[] Bits = [14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 26, 28, 30, 33];

    /// <summary>The bounds in seconds. One more bucket holds what is longer than the last.</summary>
    internal static double[] BoundsSeconds { get; } = [.. Bits.Select(bit => (1L << bit) / 1e9)];

    /// <summary>Buckets, that of the longest included.</summary>
    internal static int Count => Bits.Length + 1;

    /// <summary>Counts the requests of one kind that a disk has given back so far.</summary>
    /// <param name="disk">It measures latency.</param>
    /// <param name="kind">The number of the kind.</param>
    /// <param name="buckets">Gets how many there are in each bucket.</param>
    /// <returns>The sum of their latencies in nanoseconds; null if there were none.</returns>
    internal static long? Read(BlockDevice disk, int kind, Span<long> buckets)
    {
        Span<long> counts = stackalloc long[Bits[^1] + 1];
        counts.Clear();
        long? sum = null;
        foreach (QueueDefinition queue in disk.Queues)
        {
            if (queue.StatisticsSoFar?.LatencyOf(kind) is not { } measured) continue;
            measured.AddCountsByHighestBit(counts);
            sum = (sum ?? 0) + measured.Sum;
        }
        if (sum is null) return null;
        buckets.Clear();
        // Values below 2^N are those with a highest bit below N. The last count holds all that are longer than every bound.
        for (int i = 0, next = 0; i < buckets.Length; i++)
        {
            for (int end = i < Bits.Length ? Bits[i] : counts.Length; next < end; next++) buckets[i] += counts[next];
        }
        return sum;
    }
}
