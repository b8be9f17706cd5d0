using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices.VhostUser;

/// <summary>
/// Has the kernel signal eventfds of other processes, which saturates their counters and never waits: an empty write to /dev/null is
/// submitted (io_submit(2)), whose completion signals the eventfd that it names. Costs one system call a signal, as a write would, and
/// one context a thread. Used by the thread it was made for.
/// </summary>
internal sealed unsafe class SignalQueue : IDisposable
{
    [ThreadStatic]
    private static SignalQueue? _ofThread;

    [ThreadStatic]
    private static bool _hasNone;

    private readonly OwnedFd _null;
    private readonly AioRing* _ring;

    private SignalQueue(OwnedFd toNull, AioRing* ring)
    {
        _null = toNull;
        _ring = ring;
    }

    /// <summary>The calling thread's, made when it is first asked for; null where the kernel has none, or does not let us use it.</summary>
    internal static SignalQueue? OfThread
    {
        get
        {
            if (_ofThread is null && !_hasNone) _hasNone = (_ofThread = TryCreate()) is null;
            return _ofThread;
        }
    }

    ~SignalQueue() => Destroy();

    /// <summary>Makes one.</summary>
    internal static SignalQueue? TryCreate()
    {
        int fd = FileCalls.Open("/dev/null", FileCalls.O_WRONLY | FileCalls.O_CLOEXEC);
        if (fd < 0) return null;
        OwnedFd toNull = new(fd);
        AioRing* ring = null;
        // SAFETY: io_setup writes one address, a local: the kernel maps the ring there until io_destroy.
        if (AioCalls.Setup(1, &ring) == 0 && ring->Magic == AioRing.Known) return new SignalQueue(toNull, ring);
        if (ring is not null) _ = AioCalls.Destroy(ring);
        toNull.Dispose();
        return null;
    }

    /// <summary>Has the kernel add 1 to an eventfd. Never blocks.</summary>
    /// <returns>False if it refuses.</returns>
    internal bool TrySignal(int eventFd)
    {
        AioRequest request = new() { Operation = AioCalls.Write, Fd = _null.Number, Flags = AioCalls.SignalsEventFd, EventFd = eventFd };
        AioRequest* only = &request;
        // SAFETY: the kernel reads one request, a local. It completes within the call; the completion is taken by moving the ring's head.
        bool submitted = AioCalls.Submit(_ring, 1, &only) == 1;
        Volatile.Write(ref _ring->Head, Volatile.Read(ref _ring->Tail));
        return submitted;
    }

    /// <summary>
    /// Without a queue: a write, if there is room for it at this moment. A hostile owner who clears O_NONBLOCK and fills the
    /// counter between the two calls can still make it wait; where the kernel has queues that can't happen.
    /// </summary>
    internal static void WriteIfRoom(int eventFd)
    {
        PollEntry poll = new() { Fd = eventFd, Events = SocketCalls.POLLOUT };
        ulong one = 1;
        // SAFETY: both calls read and write locals of the sizes they expect.
        if (SocketCalls.Poll(&poll, 1, 0) == 1 && (poll.Returned & SocketCalls.POLLOUT) != 0)
            _ = AioCalls.WriteTo(eventFd, &one, sizeof(ulong));
    }

    public void Dispose()
    {
        Destroy();
        _null.Dispose();
        GC.SuppressFinalize(this);
    }

    // SAFETY: made by TryCreate, destroyed once; nothing is submitted after.
    private void Destroy() => _ = AioCalls.Destroy(_ring);
}
