namespace Vmm.Benchmarks;

/// <summary>Frames between a TAP and a guest.</summary>
internal static class NetComparisons
{
    internal static Comparison In { get; } = Of("net-in", toGuest: true, "from a TAP to the guest", "reads");

    internal static Comparison Out { get; } = Of("net-out", toGuest: false, "from the guest to a TAP", "writes");

    private static Comparison Of(string group, bool toGuest, string direction, string calls) => new("net", group,
        $"one frame of n bytes {direction}: rings, kick, reactor, device, interrupt. "
        + $"The baseline is a C loop of bare {calls} on such a TAP",
        [64, 1500],
        [
            new("c-loop", n => new TapBaseline(toGuest, n)),
            new("vmm-split", n => new NetContender(toGuest, n, packed: false)),
            new("vmm-packed", n => new NetContender(toGuest, n, packed: true)),
        ]);
}
