using Vmm.Events.Rings;

namespace Vmm.Benchmarks;

/// <summary>Random reads of 4 KiB.</summary>
internal static class RingComparisons
{
    /// <summary>From the page cache.</summary>
    internal static Comparison Cached { get; } = new("ring", "ring-cached",
        "4 KiB are read at random from a file in the page cache, n reads in flight; the baseline is io_uring from C",
        [1, 32],
        [
            new("c-uring", n => new RingBaseline(BlockFile.Cached.Value, n)),
            new("vmm-raw", n => new RawRing(BlockFile.Cached.Value, n)),
            new("vmm-await", n => new AwaitedRing(BlockFile.Cached.Value, n)),
            new("vmm-threads", n => new RawRing(BlockFile.Cached.Value, n, RingEngine.Threads)),
            new("random-access", n => new RandomAccessReads(BlockFile.Cached.Value, n)),
        ]);

    /// <summary>The same past the page cache. fio is a process of its own and cannot take turns: its loop is what the C one does.</summary>
    internal static Comparison Direct { get; } = new("ring", "ring-direct",
        "4 KiB are read at random with O_DIRECT, n reads in flight; the baseline is io_uring from C",
        [32],
        [
            new("c-uring", n => new RingBaseline(BlockFile.Direct.Value, n)),
            new("vmm-raw", n => new RawRing(BlockFile.Direct.Value, n)),
            new("vmm-await", n => new AwaitedRing(BlockFile.Direct.Value, n)),
        ]);
}
