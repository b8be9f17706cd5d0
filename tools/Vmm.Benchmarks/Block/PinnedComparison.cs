namespace Vmm.Benchmarks;

/// <summary>A guest's disk past the page cache, with guest memory pinned and without, by the processor time of a read.</summary>
internal sealed class PinnedComparison : Comparison
{
    internal override string Suite => "block-direct";

    internal override string Group => "block-direct";

    internal override string Description =>
        $"processor time of one random read of n bytes with O_DIRECT, {BlockComparison.Depth} in flight on one queue. fio reads the file "
        + "itself; the guest reads its disk, into one buffer or into one for each page";

    internal override IReadOnlyList<int> Sizes => [BlockFile.BlockBytes, 16 * BlockFile.BlockBytes];

    internal override int SliceFactor => 100;

    internal override int RoundsMin => 41;

    internal override IReadOnlyList<Variant> Variants { get; } =
    [
        new("vmm", n => new GuestDiskContender(new GuestReads(n, n, Pin: false))),
        new("vmm-pin", n => new GuestDiskContender(new GuestReads(n, n, Pin: true))),
        new("vmm-pages", n => new GuestDiskContender(new GuestReads(n, BlockFile.BlockBytes, Pin: false))),
        new("vmm-pages-pin", n => new GuestDiskContender(new GuestReads(n, BlockFile.BlockBytes, Pin: true))),
        new("fio", n => new FioContender(n, "--fixedbufs=0"), IsOutside: true),
        new("fio-fixed", n => new FioContender(n, "--fixedbufs=1"), IsOutside: true),
    ];
}
