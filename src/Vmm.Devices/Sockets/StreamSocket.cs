using System.Diagnostics;
using System.Net;
using System.Runtime.InteropServices;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// A connected stream socket, TCP or Unix, that never blocks. It is made by plain calls: a <see cref="System.Net.Sockets.Socket"/>
/// stays in the runtime's own epoll set for as long as its connection lives, and would wake a thread of it for each packet.
/// </summary>
internal static unsafe class StreamSocket
{
    private const int IPPROTO_TCP = 6;
    private const int SO_ERROR = 4, SO_KEEPALIVE = 9;
    private const int TCP_NODELAY = 1, TCP_KEEPIDLE = 4, TCP_KEEPINTVL = 5, TCP_KEEPCNT = 6, TCP_USER_TIMEOUT = 18;

    /// <summary>A peer that answers no packet for this long is gone: its network was unplugged, or its host stopped.</summary>
    private const int SilenceSeconds = 10;

    private const int BacklogRetryMs = 10;

    private static readonly Errno InProgress = (Errno)115;

    /// <summary>Connects to a TCP or Unix address.</summary>
    /// <param name="address">The address.</param>
    /// <param name="patience">Longest wait.</param>
    /// <param name="socket">The connection.</param>
    /// <returns>What the kernel said; <see cref="Errno.TimedOut"/> if the time was up.</returns>
    internal static Errno Connect(EndPoint address, TimeSpan patience, out OwnedFd? socket)
    {
        socket = null;
        int type = SocketCalls.SOCK_STREAM | SocketCalls.SOCK_NONBLOCK | SocketCalls.SOCK_CLOEXEC;
        int fd = SocketCalls.Socket(FamilyOf(address), type, 0);
        if (fd < 0) return LastError;
        OwnedFd made = new(fd);
        SocketAddress serialized = address.Serialize();
        Errno error = Connect(fd, serialized, patience);
        // A Unix socket whose backlog is full does not queue the caller (connect(2), EAGAIN).
        for (long start = Stopwatch.GetTimestamp(); error == Errno.Again
            && Stopwatch.GetElapsedTime(start) < patience; error = Connect(fd, serialized, patience))
            Thread.Sleep(BacklogRetryMs);
        if (error != Errno.None)
        {
            made.Dispose();
            return error;
        }
        if (address is IPEndPoint) Watch(fd);
        socket = made;
        return Errno.None;
    }

    /// <summary>Blocks until there is something to read, the peer is gone, or the time is up.</summary>
    internal static bool WaitReadable(int fd, TimeSpan patience) => Wait(fd, SocketCalls.POLLIN, patience);

    /// <summary>As <see cref="WaitReadable"/>, until there is room to write.</summary>
    internal static bool WaitWritable(int fd, TimeSpan patience) => Wait(fd, SocketCalls.POLLOUT, patience);

    /// <summary>Two connected Unix sockets.</summary>
    /// <exception cref="KernelException">The process has no descriptor left.</exception>
    internal static (OwnedFd One, OwnedFd Other) Pair()
    {
        int* pair = stackalloc int[2];
        // SAFETY: socketpair writes two numbers into a local of that size.
        if (SocketCalls.SocketPair(SocketCalls.AF_UNIX, SocketCalls.SOCK_STREAM | SocketCalls.SOCK_NONBLOCK | SocketCalls.SOCK_CLOEXEC, 0,
            pair) != 0)
            throw new KernelException("cannot make a pair of sockets", LastError);
        return (new OwnedFd(pair[0]), new OwnedFd(pair[1]));
    }

    private static Errno Connect(int fd, SocketAddress address, TimeSpan patience)
    {
        fixed (byte* bytes = address.Buffer.Span)
        {
            // SAFETY: the kernel reads as many bytes of the pinned address as it has.
            if (SocketCalls.Connect(fd, bytes, (uint)address.Size) == 0) return Errno.None;
        }
        Errno error = LastError;
        if (error != InProgress) return error;
        if (!WaitWritable(fd, patience)) return Errno.TimedOut;
        int outcome = 0;
        uint length = sizeof(int);
        // SAFETY: getsockopt writes at most length bytes into a local of that size.
        return SocketCalls.GetOption(fd, SocketCalls.SOL_SOCKET, SO_ERROR, &outcome, &length) == 0 ? (Errno)outcome : LastError;
    }

    /// <summary>Small requests go out at once, and a peer that is gone without a word is noticed.</summary>
    private static void Watch(int fd)
    {
        Set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
        Set(fd, SocketCalls.SOL_SOCKET, SO_KEEPALIVE, 1);
        Set(fd, IPPROTO_TCP, TCP_KEEPIDLE, SilenceSeconds / 2);
        Set(fd, IPPROTO_TCP, TCP_KEEPINTVL, 1);
        Set(fd, IPPROTO_TCP, TCP_KEEPCNT, SilenceSeconds / 2);
        Set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, SilenceSeconds * 1000);
    }

    // SAFETY: setsockopt reads one int, a local. A kernel without an option does without.
    private static void Set(int fd, int level, int option, int value) => _ = SocketCalls.SetOption(fd, level, option, &value, sizeof(int));

    private static bool Wait(int fd, short events, TimeSpan patience)
    {
        PollEntry entry = new() { Fd = fd, Events = events };
        long start = Stopwatch.GetTimestamp();
        while (true)
        {
            TimeSpan left = patience - Stopwatch.GetElapsedTime(start);
            // SAFETY: poll reads and writes one entry, a local.
            int ready = SocketCalls.Poll(&entry, 1, (int)Math.Max(0, left.TotalMilliseconds));
            if (ready > 0) return true;
            if (ready == 0 || LastError != Errno.Interrupted) return false;
        }
    }

    private static int FamilyOf(EndPoint address)
    {
        const int AF_INET = 2, AF_INET6 = 10;
        return address.AddressFamily switch
        {
            System.Net.Sockets.AddressFamily.InterNetwork => AF_INET,
            System.Net.Sockets.AddressFamily.InterNetworkV6 => AF_INET6,
            _ => SocketCalls.AF_UNIX,
        };
    }

    private static Errno LastError => (Errno)Marshal.GetLastPInvokeError();
}
