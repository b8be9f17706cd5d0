namespace Vmm.Benchmarks;

/// <summary>A KVM guest reads a device register: what an exit costs beside what the kernel takes for it.</summary>
internal sealed class ExitComparison : Comparison
{
    internal override string Suite => "exits";

    internal override string Group => "exits";

    internal override string Description =>
        "a KVM guest reads a 4-byte device register, a whole round trip: exit, bus, device, entry. "
        + "The baseline is a C loop that answers the same exits (n = 1)";

    internal override IReadOnlyList<int> Sizes => [1];

    internal override IReadOnlyList<Variant> Variants { get; } =
    [
        new("c-loop", _ => new ExitBaseline()),
        new("vmm", _ => new ExitContender()),
    ];
}
