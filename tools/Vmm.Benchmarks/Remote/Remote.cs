namespace Vmm.Benchmarks;

/// <summary>Messages from n threads to the reactor's.</summary>
internal static class Remote
{
    internal static Comparison Comparison { get; } = new("remote", "remote",
        "n threads send to one reactor as fast as they can, until the last message is handled; vmm-invoke waits for each answer",
        [1, 2],
        [
            new("write-always", n => new WriteAlways(n)),
            new("channel", n => new ChannelAndEventFd(n)),
            new("vmm-post", n => new PostedSignals(n)),
            new("vmm-doorbell", n => new RungDoorbell(n)),
            new("vmm-invoke", n => new Invoked(n)),
        ])
    { SliceFactor = 10 };
}
