namespace Vmm.Benchmarks;

/// <summary>Messages from n threads to the reactor's.</summary>
internal sealed class Remote : Comparison
{
    internal override string Suite => "remote";

    internal override string Group => "remote";

    internal override string Description =>
        "n threads send to one reactor as fast as they can, until the last message is handled; vmm-invoke waits for each answer";

    internal override IReadOnlyList<int> Sizes => [1, 2];

    internal override IReadOnlyList<Variant> Variants { get; } =
    [
        new("write-always", n => new WriteAlways(n)),
        new("channel", n => new ChannelAndEventFd(n)),
        new("vmm-post", n => new PostedSignals(n)),
        new("vmm-doorbell", n => new RungDoorbell(n)),
        new("vmm-invoke", n => new Invoked(n)),
    ];

    internal override int SliceFactor => 10;
}
