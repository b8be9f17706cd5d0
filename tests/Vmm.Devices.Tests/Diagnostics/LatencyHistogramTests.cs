namespace Vmm.Devices.Tests;

public sealed class LatencyHistogramTests
{
    [Fact]
    public void An_empty_histogram_answers_zero()
    {
        LatencyHistogram histogram = new();
        Assert.Equal(0, histogram.Count);
        Assert.Equal(0, histogram.Percentile(99));
        Assert.Equal(0, histogram.Mean);
        Assert.Empty(histogram.Buckets());
    }

    [Fact]
    public void Values_are_counted_between_powers_of_two()
    {
        LatencyHistogram histogram = new();
        foreach (long value in (long[])[0, 1, 2, 3, 4, 7, 8, 1023, 1024, 1025, 1 << 20]) histogram.Record(value);
        long[] counts = new long[12];
        histogram.AddCountsByHighestBit(counts);
        // What is longer than the last bound counts to the last.
        Assert.Equal([2, 2, 2, 1, 0, 0, 0, 0, 0, 1, 2, 1], counts);
        Assert.Equal(histogram.Count, counts.Sum());
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(31)]
    [InlineData(32)]
    [InlineData(33)]
    [InlineData(63)]
    [InlineData(64)]
    [InlineData(1_000_000)]
    [InlineData(LatencyHistogram.NanosecondsMax)]
    public void A_value_is_kept_to_one_part_in_32(long value)
    {
        LatencyHistogram histogram = new();
        histogram.Record(value);
        Assert.Equal(value, histogram.Percentile(50));
        (long highest, long count) = Assert.Single(histogram.Buckets());
        Assert.Equal(1, count);
        Assert.InRange(highest, value, value + value / 32);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Percentiles_are_those_of_the_sorted_values(int seed)
    {
        Random random = new(seed);
        LatencyHistogram histogram = new();
        long[] values = new long[5_000];
        for (int i = 0; i < values.Length; i++)
        {
            values[i] = (long)Math.Pow(2, random.NextDouble() * 40);
            histogram.Record(values[i]);
        }
        Array.Sort(values);
        foreach (double percent in (double[])[0, 1, 50, 90, 99, 99.9, 100])
        {
            long exact = values[Math.Max(0, (int)Math.Ceiling(values.Length * percent / 100) - 1)];
            Assert.InRange(histogram.Percentile(percent), exact, exact + exact / 32);
        }
        Assert.Equal(values[^1], histogram.Max);
        Assert.Equal(values.Average(), histogram.Mean, 1.0);
    }

    [Fact]
    public void Out_of_range_values_count_at_the_ends()
    {
        LatencyHistogram histogram = new();
        histogram.Record(-5);
        histogram.Record(long.MaxValue);
        Assert.Equal(2, histogram.Count);
        Assert.Equal(0, histogram.Percentile(1));
        Assert.Equal(LatencyHistogram.NanosecondsMax, histogram.Max);
        Assert.Throws<ArgumentOutOfRangeException>(() => histogram.Percentile(101));
    }

    [Fact]
    public void Merging_counts_both_and_clearing_forgets()
    {
        LatencyHistogram a = new(), b = new();
        a.Record(10);
        b.Record(1_000);
        b.Record(2_000);
        a.Merge(b);
        Assert.Equal(3, a.Count);
        Assert.Equal(2_000, a.Max);
        Assert.Equal(10, a.Percentile(33));
        a.Clear();
        Assert.Equal(0, a.Count);
        Assert.Equal(0, a.Max);
    }
}
