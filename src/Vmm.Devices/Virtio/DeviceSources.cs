using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// What a device has watched on one reactor while it has a driver: the kicks of the queues that are served there, its host side, its
/// timers. They are one subscriber, so they go together: when the driver goes, and when a handler of one of them throws, which is a bug of
/// the device; then its driver is asked to reset it. On that reactor's thread.
/// </summary>
/// <param name="name">The device's.</param>
/// <param name="reactor">The reactor.</param>
/// <param name="remote">The same, for a call after a failure.</param>
/// <param name="interrupt">How the driver learns of a failure.</param>
internal sealed class DeviceSources(string name, IReactor reactor, RemoteEndpoint remote, IVirtioInterrupt interrupt) : Subscriber(name)
{
    /// <summary>The reactor as the device sees it: what it adds there is one of these sources.</summary>
    internal IReactor Reactor => field ??= In(reactor);

    /// <summary>The queues that are served here.</summary>
    internal List<QueueContext> Queues { get; } = [];

    internal void Remove() => RemoveFrom(reactor);

    /// <summary>A handler threw, or the reactor ends: then it takes no call any more.</summary>
    protected override void Dispose(bool disposing)
    {
        if (disposing) remote.TryPost(new FailureCall(this));
        base.Dispose(disposing);
    }

    private void Failed()
    {
        bool isKnown = Queues.Exists(queue => queue.KickHasFailed);
        foreach (QueueContext queue in Queues) queue.SourcesFailed();
        if (!isKnown) interrupt.SignalNeedsReset();
    }

    private sealed class FailureCall(DeviceSources sources) : RemoteCall
    {
        protected override void Run(IReactor reactor) => sources.Failed();
    }
}
