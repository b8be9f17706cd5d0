namespace Vmm.Benchmarks;

/// <summary>A guest's disk beside the file it is in.</summary>
internal static class BlockComparison
{
    internal static Comparison Comparison { get; } = new("block", "block-cached",
        "one random read of 4 KiB from the page cache, n in flight on one queue. fio reads the file itself; the guest reads its disk",
        [Depth],
        [
            new("fio", _ => new FioContender(batched: false), IsOutside: true),
            new("fio-batched", _ => new FioContender(batched: true), IsOutside: true),
            new("vmm-split", _ => new GuestDiskContender(packed: false)),
            new("vmm-packed", _ => new GuestDiskContender(packed: true)),
        ])
    {
        // fio takes its time to start: slices of 200 ms.
        SliceFactor = 400,
        RoundsMin = 15,
    };

    /// <summary>Requests in flight.</summary>
    internal const int Depth = 32;
}
