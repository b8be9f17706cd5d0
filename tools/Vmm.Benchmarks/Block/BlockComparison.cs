namespace Vmm.Benchmarks;

/// <summary>A guest's disk beside the file it is in.</summary>
internal sealed class BlockComparison : Comparison
{
    /// <summary>Requests in flight.</summary>
    internal const int Depth = 32;

    internal override string Suite => "block";

    internal override string Group => "block-cached";

    internal override string Description =>
        "one random read of 4 KiB from the page cache, n in flight on one queue. fio reads the file itself; the guest reads its disk";

    internal override IReadOnlyList<int> Sizes => [Depth];

    // fio takes its time to start: slices of 200 ms.
    internal override int SliceFactor => 400;

    internal override int RoundsMin => 15;

    internal override IReadOnlyList<Variant> Variants { get; } =
    [
        new("fio", _ => new FioContender(batched: false), IsOutside: true),
        new("fio-batched", _ => new FioContender(batched: true), IsOutside: true),
        new("vmm-split", _ => new GuestDiskContender(packed: false)),
        new("vmm-packed", _ => new GuestDiskContender(packed: true)),
    ];
}
