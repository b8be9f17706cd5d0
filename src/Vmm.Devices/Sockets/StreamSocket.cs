using System.Diagnostics;
using System.Net;

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

    /// <summary>Connects to a TCP or Unix address; <see cref="Errno.TimedOut"/> if the time was up.</summary>
    internal static Errno Connect(EndPoint address, TimeSpan patience, out OwnedFd? socket)
    {
        socket = null;
        int type = SocketCalls.SOCK_STREAM | SocketCalls.SOCK_NONBLOCK | SocketCalls.SOCK_CLOEXEC;
        int fd = SocketCalls.Socket(FamilyOf(address), type, 0);
        if (fd < 0) return CallResult.LastError;
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

    /// <summary>Blocks until there is something to read, the peer is gone, or the time is up, which may be never.</summary>
    internal static bool WaitReadable(int fd, TimeSpan patience) => Wait(fd, SocketCalls.POLLIN, patience);

    /// <summary>As <see cref="WaitReadable"/>, until there is room to write.</summary>
    internal static bool WaitWritable(int fd, TimeSpan patience) => Wait(fd, SocketCalls.POLLOUT, patience);

    private static Errno Connect(int fd, SocketAddress address, TimeSpan patience)
    {
        fixed (byte* bytes = address.Buffer.Span)
        {
            // SAFETY: the kernel reads as many bytes of the pinned address as it has.
            if (SocketCalls.Connect(fd, bytes, (uint)address.Size) == 0) return Errno.None;
        }
        Errno error = CallResult.LastError;
        if (error != InProgress) return error;
        if (!WaitWritable(fd, patience)) return Errno.TimedOut;
        error = SocketCalls.GetOption(fd, SO_ERROR, out int outcome);
        return error == Errno.None ? (Errno)outcome : error;
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

    private static bool Wait(int fd, short events, TimeSpan patience) => SocketCalls.Wait(fd, events,
        patience == Timeout.InfiniteTimeSpan ? -1 : (int)Math.Clamp(patience.TotalMilliseconds, 0, int.MaxValue)) != 0;

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
}
