using System.Numerics;

namespace Vmm.Devices;

/// <summary>
/// How often which latency occurred, to within 1/32 of its value, in fixed memory: buckets whose width doubles with each power of two, as
/// HDR histograms have them. Written by one thread at a time, readable from any; a reader may miss what is being written.
/// </summary>
public sealed class LatencyHistogram
{
    /// <summary>Longest value that keeps its precision, in nanoseconds (about 73 minutes); longer ones count as this.</summary>
    public const long NanosecondsMax = (1L << 42) - 1;

    private const int SubBucketBits = 5;
    private const int SubBuckets = 1 << SubBucketBits;
    private const int BucketCount = (42 - SubBucketBits + 1) * SubBuckets;

    // Made when they are first needed: a server of thousands of disks that measures none would hold 10 KB for each.
    private long[] _counts = [];
    private long _sum;
    private long _max;

    /// <summary>Values recorded.</summary>
    public long Count
    {
        get
        {
            long[] counts = Volatile.Read(ref _counts);
            long count = 0;
            for (int i = 0; i < counts.Length; i++) count += Volatile.Read(ref counts[i]);
            return count;
        }
    }

    /// <summary>The sum of the exact values.</summary>
    public long Sum => Volatile.Read(ref _sum);

    /// <summary>The longest value, exactly.</summary>
    public long Max => Volatile.Read(ref _max);

    /// <summary>The mean of the exact values; 0 with none.</summary>
    public double Mean => Count is var count and > 0 ? (double)Volatile.Read(ref _sum) / count : 0;

    /// <summary>Makes room for what is recorded, so that recording allocates nothing. Counts as writing.</summary>
    internal void Reserve()
    {
        if (_counts.Length == 0) Volatile.Write(ref _counts, new long[BucketCount]);
    }

    /// <summary>Records a value; below 0 counts as 0.</summary>
    public void Record(long nanoseconds) => Record(nanoseconds, 1);

    /// <summary>Records a value that occurred several times.</summary>
    internal void Record(long nanoseconds, int times)
    {
        long value = Math.Clamp(nanoseconds, 0, NanosecondsMax);
        if (_counts.Length == 0) Reserve();
        ref long count = ref _counts[BucketOf(value)];
        Volatile.Write(ref count, count + times);
        Volatile.Write(ref _sum, _sum + value * times);
        if (value > _max) Volatile.Write(ref _max, value);
    }

    /// <summary>
    /// The value that a share of the recorded ones does not exceed: the upper end of its bucket, at most <see cref="Max"/>; 0 with none.
    /// </summary>
    /// <param name="percent">0 to 100.</param>
    public long Percentile(double percent)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(percent);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(percent, 100);
        long wanted = Math.Max(1, (long)Math.Ceiling(Count * percent / 100));
        long seen = 0;
        long[] counts = Volatile.Read(ref _counts);
        for (int i = 0; i < counts.Length; i++)
        {
            seen += Volatile.Read(ref counts[i]);
            if (seen >= wanted) return Math.Min(HighestOf(i), Max);
        }
        return Max;
    }

    /// <summary>Adds what another histogram recorded. Counts as writing.</summary>
    public void Merge(LatencyHistogram other)
    {
        ArgumentNullException.ThrowIfNull(other);
        long[] others = Volatile.Read(ref other._counts);
        if (others.Length > 0) Reserve();
        for (int i = 0; i < others.Length; i++) Volatile.Write(ref _counts[i], _counts[i] + Volatile.Read(ref others[i]));
        Volatile.Write(ref _sum, _sum + Volatile.Read(ref other._sum));
        Volatile.Write(ref _max, Math.Max(_max, other.Max));
    }

    /// <summary>Forgets everything. Counts as writing.</summary>
    public void Clear()
    {
        for (int i = 0; i < _counts.Length; i++) Volatile.Write(ref _counts[i], 0);
        Volatile.Write(ref _sum, 0);
        Volatile.Write(ref _max, 0);
    }

    /// <summary>The buckets that hold anything, from short to long: the highest value each stands for, and its count.</summary>
    public IEnumerable<(long NanosecondsMax, long Count)> Buckets()
    {
        long[] counts = Volatile.Read(ref _counts);
        for (int i = 0; i < counts.Length; i++)
        {
            long count = Volatile.Read(ref counts[i]);
            if (count > 0) yield return (HighestOf(i), count);
        }
    }

    /// <summary>Adds how many values there are between powers of two: those with a highest bit N, which are less than 2^(N+1).</summary>
    /// <param name="counts">By N; what has a higher bit counts to the last.</param>
    public void AddCountsByHighestBit(Span<long> counts)
    {
        long[] recorded = Volatile.Read(ref _counts);
        for (int i = 0; i < recorded.Length; i++)
        {
            if (Volatile.Read(ref recorded[i]) is not 0 and var count)
                counts[Math.Min(BitOperations.Log2((ulong)HighestOf(i) | 1), counts.Length - 1)] += count;
        }
    }

    /// <summary>Values below 32 have a bucket each; above, each power of two has 32.</summary>
    private static int BucketOf(long value)
    {
        int shift = Math.Max(0, 63 - BitOperations.LeadingZeroCount((ulong)value | 1) - SubBucketBits);
        return (shift << SubBucketBits) + (int)(value >> shift);
    }

    private static long HighestOf(int bucket)
    {
        if (bucket < 2 * SubBuckets) return bucket;
        int shift = (bucket >> SubBucketBits) - 1;
        long lowest = (long)((bucket & (SubBuckets - 1)) + SubBuckets) << shift;
        return lowest + (1L << shift) - 1;
    }
}
