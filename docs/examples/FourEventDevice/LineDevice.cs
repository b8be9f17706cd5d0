using System.Collections.Concurrent;
using Vmm.Events;

namespace Vmm.Examples.FourEventDevice;

/// <summary>
/// A virtual serial line that loops back: what the driver transmits, it receives. The driver rings four eventfds: activate, transmit,
/// receive,
/// reset. Until it is activated the device watches the first alone.
/// </summary>
/// <remarks>The handlers are methods that take the reactor they may use, so a test calls them with a mocked one.</remarks>
public sealed partial class LineDevice() : Subscriber("line device")
{
    /// <summary>Bytes in flight: what a driver transmits beyond without receiving is lost, and counted.</summary>
    public const int LineBytesMax = 256;

    private readonly Queue<byte> _line = new();

    /// <summary>The driver's ends. The reactor is given duplicates, which close when a source is removed.</summary>
    public EventFd ActivateEvent { get; } = new();
    public EventFd TransmitEvent { get; } = new();
    public EventFd ReceiveEvent { get; } = new();
    public EventFd ResetEvent { get; } = new();

    /// <summary>What the driver and the device share in place of guest memory.</summary>
    public ConcurrentQueue<byte> ToDevice { get; } = new();
    public ConcurrentQueue<byte> ToDriver { get; } = new();

    public int LostBytes { get; private set; }

    public void RegisterInto(IReactor reactor) => WatchOrder(ActivateEvent, OnActivate, reactor);

    /// <summary>The driver is ready: listen to it.</summary>
    public void OnActivate(IReactor reactor)
    {
        // This removes the source whose handler runs: it runs on to its end, and its duplicate closes then.
        RemoveFrom(reactor);
        // A ring too many does no harm here, so the counters are never read: watching them again may ring once more.
        SubscribeOnTransmit(TransmitEvent.Duplicate(), Interest.Kick).RegisterInto(reactor);
        SubscribeOnReceive(ReceiveEvent.Duplicate(), Interest.Kick).RegisterInto(reactor);
        WatchOrder(ResetEvent, OnReset, reactor);
    }

    /// <summary>There are bytes to transmit.</summary>
    [OnEvent]
    public void OnTransmit()
    {
        // Bounded: the driver may add as fast as this takes.
        for (int taken = 0; taken < LineBytesMax && ToDevice.TryDequeue(out byte value); taken++)
        {
            if (_line.Count < LineBytesMax) _line.Enqueue(value); else LostBytes++;
        }
        if (!ToDevice.IsEmpty) TransmitEvent.Signal();
    }

    /// <summary>There is room to receive into.</summary>
    [OnEvent]
    public void OnReceive()
    {
        while (_line.TryDequeue(out byte value)) ToDriver.Enqueue(value);
    }

    /// <summary>The driver starts over.</summary>
    public void OnReset(IReactor reactor)
    {
        RemoveFrom(reactor);
        _line.Clear();
        RegisterInto(reactor);
    }

    protected override void Dispose(bool disposing)
    {
        base.Dispose(disposing);
        foreach (EventFd fd in new[] { ActivateEvent, TransmitEvent, ReceiveEvent, ResetEvent }) fd.Dispose();
    }

    /// <summary>An order is followed once: its counter is read, so that it is not found again when the event is next watched.</summary>
    private void WatchOrder(EventFd fd, Action<IReactor> handler, IReactor reactor) =>
        Interest.Readable.WithFd(fd.Duplicate()).WithCountingHandler((_, _, ops) => handler(ops)).OwnedBy(this).RegisterInto(reactor);
}
