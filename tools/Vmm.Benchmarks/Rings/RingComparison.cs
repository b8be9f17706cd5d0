using Vmm.Events.Rings;

namespace Vmm.Benchmarks;

/// <summary>Random reads of 4 KiB from the page cache.</summary>
internal sealed class CachedReads : Comparison
{
    internal override string Suite => "ring";

    internal override string Group => "ring-cached";

    internal override string Description =>
        "4 KiB are read at random from a file in the page cache, n reads in flight; the baseline is io_uring from C";

    internal override IReadOnlyList<int> Sizes => [1, 32];

    internal override IReadOnlyList<Variant> Variants { get; } =
    [
        new("c-uring", n => new RingBaseline(BlockFile.Cached.Value, n)),
        new("vmm-raw", n => new RawRing(BlockFile.Cached.Value, n)),
        new("vmm-await", n => new AwaitedRing(BlockFile.Cached.Value, n)),
        new("vmm-threads", n => new RawRing(BlockFile.Cached.Value, n, RingEngine.Threads)),
        new("random-access", n => new RandomAccessReads(BlockFile.Cached.Value, n)),
    ];
}

/// <summary>The same past the page cache. fio is a process of its own and cannot take turns: its loop is what the C one does.</summary>
internal sealed class DirectReads : Comparison
{
    internal override string Suite => "ring";

    internal override string Group => "ring-direct";

    internal override string Description => "4 KiB are read at random with O_DIRECT, n reads in flight; the baseline is io_uring from C";

    internal override IReadOnlyList<int> Sizes => [32];

    internal override IReadOnlyList<Variant> Variants { get; } =
    [
        new("c-uring", n => new RingBaseline(BlockFile.Direct.Value, n)),
        new("vmm-raw", n => new RawRing(BlockFile.Direct.Value, n)),
        new("vmm-await", n => new AwaitedRing(BlockFile.Direct.Value, n)),
    ];
}
