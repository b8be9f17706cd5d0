namespace Vmm.Benchmarks;

/// <summary>Frames between a TAP and a guest.</summary>
internal abstract class NetComparison(bool toGuest) : Comparison
{
    internal override string Suite => "net";

    internal override string Description =>
        $"one frame of n bytes {(toGuest ? "from a TAP to the guest" : "from the guest to a TAP")}: rings, kick, reactor, "
        + "device, interrupt. "
        + $"The baseline is a C loop of bare {(toGuest ? "reads" : "writes")} on such a TAP";

    internal override IReadOnlyList<int> Sizes => [64, 1500];

    internal override IReadOnlyList<Variant> Variants { get; } =
    [
        new("c-loop", n => new TapBaseline(toGuest, n)),
        new("vmm-split", n => new NetContender(toGuest, n, packed: false)),
        new("vmm-packed", n => new NetContender(toGuest, n, packed: true)),
    ];
}

/// <summary>TAP to guest.</summary>
internal sealed class NetInComparison() : NetComparison(toGuest: true)
{
    internal override string Group => "net-in";
}

/// <summary>Guest to TAP.</summary>
internal sealed class NetOutComparison() : NetComparison(toGuest: false)
{
    internal override string Group => "net-out";
}
