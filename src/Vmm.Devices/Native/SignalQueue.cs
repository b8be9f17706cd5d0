using System.Runtime.InteropServices;
using Vmm.Events;

namespace Vmm.Devices.Native;

/// <summary>
/// Has the kernel signal eventfds of other processes, which saturates their counters and never waits: an empty write to /dev/null is
/// submitted (io_submit(2)), whose completion signals the eventfd that it names. Costs one system call a signal, as a write would, and
/// one context a thread. Used by the thread it was made for.
/// </summary>
internal sealed unsafe partial class SignalQueue : IDisposable
{
    internal const long SetupCall = 206;
    internal const long DestroyCall = 207;
    internal const long SubmitCall = 209;
    internal const ushort Write = 1;
    internal const uint SignalsEventFd = 1;

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
        if (SystemCall(SetupCall, 1, (nint)(&ring), 0) == 0 && ring->Magic == AioRing.Known) return new SignalQueue(toNull, ring);
        if (ring is not null) _ = SystemCall(DestroyCall, (nint)ring, 0, 0);
        toNull.Dispose();
        return null;
    }

    /// <summary>Has the kernel add 1 to an eventfd. Never blocks.</summary>
    /// <returns>False if it refuses.</returns>
    internal bool TrySignal(int eventFd)
    {
        AioRequest request = new() { Operation = Write, Fd = _null.Number, Flags = SignalsEventFd, EventFd = eventFd };
        AioRequest* only = &request;
        // SAFETY: the kernel reads one request, a local. It completes within the call; the completion is taken by moving the ring's head.
        bool submitted = SystemCall(SubmitCall, (nint)_ring, 1, (nint)(&only)) == 1;
        Volatile.Write(ref _ring->Head, Volatile.Read(ref _ring->Tail));
        return submitted;
    }

    /// <summary>
    /// The way without a queue: a write, if there is room for it at this moment. A hostile owner who clears O_NONBLOCK and fills the
    /// counter between the two calls can still make it wait; where the kernel has queues that can't happen.
    /// </summary>
    internal static void WriteIfRoom(int eventFd)
    {
        PollEntry poll = new() { Fd = eventFd, Events = SocketCalls.POLLOUT };
        ulong one = 1;
        // SAFETY: both calls read and write locals of the sizes they expect.
        if (SocketCalls.Poll(&poll, 1, 0) == 1 && (poll.Returned & SocketCalls.POLLOUT) != 0) _ = WriteTo(eventFd, &one, sizeof(ulong));
    }

    public void Dispose()
    {
        Destroy();
        _null.Dispose();
        GC.SuppressFinalize(this);
    }

    // SAFETY: made by TryCreate, destroyed once; nothing is submitted after.
    private void Destroy() => _ = SystemCall(DestroyCall, (nint)_ring, 0, 0);

    [LibraryImport("libc", EntryPoint = "syscall")]
    private static partial long SystemCall(long number, nint first, nint second, nint third);

    [LibraryImport("libc", EntryPoint = "write")]
    private static partial nint WriteTo(int fd, void* buffer, nuint count);
}

/// <summary>
/// struct aio_ring of the kernel, as far as it is looked at: user space takes completions by itself if it knows the number.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal struct AioRing
{
    internal const uint Known = 0xa10a10a1;

    internal uint Id;
    internal uint Count;
    internal uint Head;
    internal uint Tail;
    internal uint Magic;
}

/// <summary>struct iocb (linux/aio_abi.h).</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct AioRequest
{
    internal ulong Data;
    internal uint Key;
    internal uint ReadWriteFlags;
    internal ushort Operation;
    internal short Priority;
    internal int Fd;
    internal ulong Buffer;
    internal ulong Bytes;
    internal long Offset;
    internal ulong Reserved;
    internal uint Flags;
    internal int EventFd;
}
