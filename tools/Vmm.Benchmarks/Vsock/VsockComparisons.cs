namespace Vmm.Benchmarks;

/// <summary>A stream of writes of n KiB through the vsock device, in one direction.</summary>
internal static class VsockComparisons
{
    private const int StreamKibibytes = 64;

    /// <summary>From the guest to the host.</summary>
    internal static Comparison Out { get; } = Of("vsock-out",
        "the guest writes n KiB to a stream, a program of the host reads it. The baseline is a Unix socket, "
        + "a relay process that reads and writes 64 KiB, a Unix socket",
        [4, 64],
        new("relay", n => new RelayBaseline(n, otherWrites: false)),
        new("vmm", n => new VsockSender(n, packed: false)),
        new("vmm-packed", n => new VsockSender(n, packed: true)));

    /// <summary>From the host to the guest.</summary>
    internal static Comparison In { get; } = Of("vsock-in",
        "a program of the host writes n KiB to a stream, the guest reads it, in buffers of 4 KiB (as Linux gives them) or 64. "
        + "The baseline is the relay process",
        [4, 64],
        new("relay", n => new RelayBaseline(n, otherWrites: true)),
        new("vmm-4k", n => new VsockReceiver(n, bufferKibibytes: 4)),
        new("vmm-64k", n => new VsockReceiver(n, bufferKibibytes: 64)));

    /// <summary>From the guest to the host, over several connections.</summary>
    internal static Comparison Streams { get; } = Of("vsock-streams",
        "the guest writes 64 KiB to each of n streams in turn, a program of the host reads each. The baseline is a relay process for each",
        [4, 16],
        new("relay", n => new RelayBaseline(StreamKibibytes, otherWrites: false, n)),
        new("vmm", n => new VsockSender(StreamKibibytes, packed: false, n)));

    /// <summary>A slice fills and drains buffers of hundreds of KiB between three threads.</summary>
    private static Comparison Of(string group, string description, int[] sizes, params Variant[] variants) =>
        new("vsock", group, description, sizes, variants) { SliceFactor = 40 };
}
