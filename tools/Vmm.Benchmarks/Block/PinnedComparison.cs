namespace Vmm.Benchmarks;

/// <summary>A guest's disk past the page cache, with guest memory pinned and without, by the processor time of a read.</summary>
internal static class PinnedComparison
{
    internal static Comparison Comparison { get; } = new("block-direct", "block-direct",
        $"processor time of one random read of n bytes with O_DIRECT, {BlockComparison.Depth} in flight on one queue. fio reads the file "
        + "itself; the guest reads its disk, into one buffer or into one for each page",
        [BlockFile.BlockBytes, 16 * BlockFile.BlockBytes],
        [
            new("vmm", n => new GuestDiskContender(new GuestReads(n, n, Pin: false))),
            new("vmm-pin", n => new GuestDiskContender(new GuestReads(n, n, Pin: true))),
            new("vmm-pages", n => new GuestDiskContender(new GuestReads(n, BlockFile.BlockBytes, Pin: false))),
            new("vmm-pages-pin", n => new GuestDiskContender(new GuestReads(n, BlockFile.BlockBytes, Pin: true))),
            new("fio", n => new FioContender(n, "--fixedbufs=0"), IsOutside: true),
            new("fio-fixed", n => new FioContender(n, "--fixedbufs=1"), IsOutside: true),
        ])
    {
        SliceFactor = 100,
        RoundsMin = 41,
    };
}
