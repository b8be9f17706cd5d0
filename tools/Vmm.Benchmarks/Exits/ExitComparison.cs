namespace Vmm.Benchmarks;

/// <summary>A KVM guest reads a device register: what an exit costs beside what the kernel takes for it.</summary>
internal static class ExitComparison
{
    internal static Comparison Comparison { get; } = new("exits", "exits",
        "a KVM guest reads a 4-byte device register, a whole round trip: exit, bus, device, entry. "
        + "The baseline is a C loop that answers the same exits (n = 1)",
        [1],
        [
            new("c-loop", _ => new ExitBaseline()),
            new("vmm", _ => new ExitContender()),
        ]);
}
