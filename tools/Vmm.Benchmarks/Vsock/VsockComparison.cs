namespace Vmm.Benchmarks;

/// <summary>A stream of writes of n KiB through the vsock device, in one direction.</summary>
internal abstract class VsockComparison : Comparison
{
    internal override string Suite => "vsock";

    internal override IReadOnlyList<int> Sizes => [4, 64];

    /// <summary>A slice fills and drains buffers of hundreds of KiB between three threads.</summary>
    internal override int SliceFactor => 40;
}

/// <summary>From the guest to the host.</summary>
internal sealed class VsockOutComparison : VsockComparison
{
    internal override string Group => "vsock-out";

    internal override string Description =>
        "the guest writes n KiB to a stream, a program of the host reads it. The baseline is a Unix socket, "
        + "a relay process that reads and writes 64 KiB, a Unix socket";

    internal override IReadOnlyList<Variant> Variants { get; } =
    [
        new("relay", n => new RelayBaseline(n, otherWrites: false)),
        new("vmm", n => new VsockSender(n, packed: false)),
        new("vmm-packed", n => new VsockSender(n, packed: true)),
    ];
}

/// <summary>From the host to the guest.</summary>
internal sealed class VsockInComparison : VsockComparison
{
    internal override string Group => "vsock-in";

    internal override string Description =>
        "a program of the host writes n KiB to a stream, the guest reads it, in buffers of 4 KiB (as Linux gives them) or 64. "
        + "The baseline is the relay process";

    internal override IReadOnlyList<Variant> Variants { get; } =
    [
        new("relay", n => new RelayBaseline(n, otherWrites: true)),
        new("vmm-4k", n => new VsockReceiver(n, bufferKibibytes: 4)),
        new("vmm-64k", n => new VsockReceiver(n, bufferKibibytes: 64)),
    ];
}

/// <summary>From the guest to the host, over several connections.</summary>
internal sealed class VsockStreamsComparison : VsockComparison
{
    private const int Kibibytes = 64;

    internal override string Group => "vsock-streams";

    internal override string Description =>
        "the guest writes 64 KiB to each of n streams in turn, a program of the host reads each. The baseline is a relay process for each";

    internal override IReadOnlyList<int> Sizes => [4, 16];

    internal override IReadOnlyList<Variant> Variants { get; } =
    [
        new("relay", n => new RelayBaseline(Kibibytes, otherWrites: false, n)),
        new("vmm", n => new VsockSender(Kibibytes, packed: false, n)),
    ];
}
