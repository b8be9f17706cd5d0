namespace Vmm.Events;

/// <summary>The default poller: one epoll set (epoll(7)).</summary>
internal sealed unsafe class EpollPoller : IPoller
{
    /// <summary>Most events of a look: a collection of the runtime has to wait for it.</summary>
    internal const int LookEventsMax = 8;

    /// <summary>Most waits between two looks.</summary>
    internal const int WaitsPerLookMax = 64;

    private readonly ReadyEvent* _events;
    private int _waitsToLook;
    private int _waitsPerLook;
    private readonly int _eventsMax;
    private int _set;
    private bool _disposed;

    internal EpollPoller(int eventsPerWaitMax)
    {
        _eventsMax = eventsPerWaitMax;
        _set = Create();
        _events = (ReadyEvent*)NativeMemory.AlignedAlloc((nuint)(eventsPerWaitMax * sizeof(ReadyEvent)), 64);
    }

    public PollerKind Kind => PollerKind.Epoll;

    public Errno Add(int fd, uint bits, ulong data) => Control(Libc.EPOLL_CTL_ADD, fd, bits, data);

    public Errno Modify(int fd, uint bits, ulong data)
    {
        Errno errno = Control(Libc.EPOLL_CTL_MOD, fd, bits, data);
        if (errno != Errno.Invalid) return errno;
        // EPOLLEXCLUSIVE can be set by an add only, and a set that has it cannot be modified (epoll_ctl(2)).
        errno = Remove(fd, data);
        return errno == Errno.None ? Add(fd, bits, data) : errno;
    }

    public Errno Remove(int fd, ulong data) => Control(Libc.EPOLL_CTL_DEL, fd, 0, data);

    /// <summary>
    /// A look that finds something spares the fence of the announcement and the transition of a call that may block, about 20 ns; one that
    /// finds nothing costs a call, 130 ns. So it is asked for as often as it pays: each miss doubles the waits up to the next, each hit
    /// halves them.
    /// </summary>
    public ReadOnlySpan<ReadyEvent> Look()
    {
        if (_waitsToLook > 0)
        {
            _waitsToLook--;
            return default;
        }
        // SAFETY: as in Wait.
        int count = Libc.EpollLook(_set, _events, Math.Min(LookEventsMax, _eventsMax));
        _waitsPerLook = count > 0 ? _waitsPerLook / 2 : Math.Min(WaitsPerLookMax, _waitsPerLook * 2 + 4);
        // As many as it may bring: there are more, and a wait brings all of them at once.
        _waitsToLook = count < LookEventsMax ? _waitsPerLook : WaitsPerLookMax;
        return count > 0 ? new ReadOnlySpan<ReadyEvent>(_events, count) : default;
    }

    public ReadOnlySpan<ReadyEvent> Wait(int timeoutMs)
    {
        // SAFETY: _events has room for _eventsMax entries until Dispose, which the reactor calls when no wait is running.
        int count = Libc.EpollWait(_set, _events, _eventsMax, timeoutMs);
        // So many at a time: a wait costs little beside them, and a look would split them.
        if (count >= LookEventsMax) _waitsToLook = WaitsPerLookMax;
        if (count >= 0) return new ReadOnlySpan<ReadyEvent>(_events, count);
        Errno errno = Libc.LastError;
        return errno == Errno.Interrupted ? default : throw new KernelException("epoll_wait", errno);
    }

    public void Rebuild()
    {
        int fresh = Create();
        _ = Libc.Close(_set);
        _set = fresh;
    }

    public void OwnerLeaves()
    {
        // A set belongs to no thread.
    }

    public void Dispose()
    {
        if (_disposed) return;
        _disposed = true;
        _ = Libc.Close(_set);
        // SAFETY: allocated by the constructor, freed once.
        NativeMemory.AlignedFree(_events);
    }

    private Errno Control(int operation, int fd, uint bits, ulong data)
    {
        ReadyEvent interest = new() { Events = bits, Data = data };
        // SAFETY: the kernel copies one epoll_event from a local.
        return Libc.EpollCtl(_set, operation, fd, &interest);
    }

    private static int Create()
    {
        int set = Libc.EpollCreate(Libc.EPOLL_CLOEXEC);
        return set >= 0 ? set : throw new KernelException("cannot create an epoll set", Libc.LastError);
    }
}
