namespace Vmm.Devices.Native;

/// <summary>
/// The socket calls of Unix sockets, with and without descriptors (unix(7), cmsg(3)). Used by the classes for sockets beside it.
/// </summary>
internal static unsafe partial class SocketCalls
{
    private const string Name = "libc";

    internal const int AF_UNIX = 1;
    internal const int SOCK_STREAM = 1;
    internal const int SOCK_DGRAM = 2;
    internal const int SOCK_SEQPACKET = 5;
    internal const int SOCK_NONBLOCK = 0x800;
    internal const int SOCK_CLOEXEC = 0x80000;
    internal const int SOL_SOCKET = 1;
    internal const int SO_TYPE = 3;
    internal const int SO_SNDBUF = 7;
    internal const int SO_PEERCRED = 17;
    internal const int SO_ACCEPTCONN = 30;
    internal const int SO_DOMAIN = 39;
    internal const int SCM_RIGHTS = 1;
    internal const short POLLIN = 1;
    internal const short POLLOUT = 4;
    internal const short POLLHUP = 0x10;
    internal const short POLLRDHUP = 0x2000;
    internal const int SHUT_RD = 0;
    internal const int SHUT_WR = 1;
    internal const int AT_FDCWD = -100;
    internal const int AT_SYMLINK_NOFOLLOW = 0x100;
    internal const int MSG_PEEK = 0x2;
    internal const int MSG_TRUNC = 0x20;
    internal const int MSG_CTRUNC = 0x8;
    internal const int MSG_DONTWAIT = 0x40;
    internal const int MSG_NOSIGNAL = 0x4000;
    internal const int MSG_CMSG_CLOEXEC = 0x40000000;

    [LibraryImport(Name, EntryPoint = "socket", SetLastError = true)]
    internal static partial int Socket(int domain, int type, int protocol);

    [LibraryImport(Name, EntryPoint = "socketpair", SetLastError = true)]
    private static partial int SocketPair(int domain, int type, int protocol, int* pair);

    [LibraryImport(Name, EntryPoint = "bind", SetLastError = true)]
    internal static partial int Bind(int fd, UnixAddress* address, uint length);

    [LibraryImport(Name, EntryPoint = "listen", SetLastError = true)]
    internal static partial int Listen(int fd, int backlog);

    [LibraryImport(Name, EntryPoint = "connect", SetLastError = true)]
    internal static partial int Connect(int fd, UnixAddress* address, uint length);

    [LibraryImport(Name, EntryPoint = "connect", SetLastError = true)]
    internal static partial int Connect(int fd, byte* address, uint length);

    [LibraryImport(Name, EntryPoint = "accept4", SetLastError = true)]
    internal static partial int Accept(int fd, void* address, uint* length, int flags);

    [LibraryImport(Name, EntryPoint = "getsockopt", SetLastError = true)]
    private static partial int GetOption(int fd, int level, int option, void* value, uint* length);

    [LibraryImport(Name, EntryPoint = "getpeername", SetLastError = true)]
    internal static partial int GetPeerName(int fd, UnixAddress* address, uint* length);

    [LibraryImport(Name, EntryPoint = "setsockopt", SetLastError = true)]
    internal static partial int SetOption(int fd, int level, int option, void* value, uint length);

    [LibraryImport(Name, EntryPoint = "shutdown", SetLastError = true)]
    internal static partial int Shutdown(int fd, int how);

    [LibraryImport(Name, EntryPoint = "fchmod", SetLastError = true)]
    internal static partial int ChangeMode(int fd, uint mode);

    [LibraryImport(Name, EntryPoint = "fchmodat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int ChangeModeAt(int directory, string path, uint mode, int flags);

    [LibraryImport(Name, EntryPoint = "lchown", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int ChangeOwner(string path, uint user, uint group);

    [LibraryImport(Name, EntryPoint = "sendmsg", SetLastError = true)]
    internal static partial nint SendMessage(int fd, MessageHeader* message, int flags);

    [LibraryImport(Name, EntryPoint = "recvmsg", SetLastError = true)]
    internal static partial nint ReceiveMessage(int fd, MessageHeader* message, int flags);

    [LibraryImport(Name, EntryPoint = "poll", SetLastError = true)]
    internal static partial int Poll(PollEntry* entries, nuint count, int timeoutMs);

    [LibraryImport(Name, EntryPoint = "geteuid")]
    internal static partial uint EffectiveUser();

    [LibraryImport(Name, EntryPoint = "close")]
    internal static partial int Close(int fd);

    /// <summary>What a socket is (getsockopt(2), SOL_SOCKET).</summary>
    internal static Errno GetOption<T>(int fd, int option, out T value) where T : unmanaged
    {
        T answer = default;
        uint length = (uint)sizeof(T);
        // SAFETY: getsockopt writes at most length bytes into a local of that size.
        int result = GetOption(fd, SOL_SOCKET, option, &answer, &length);
        value = answer;
        return CallResult.Of(result);
    }

    /// <summary>Two Unix sockets that are connected to each other, close-on-exec, which do not block.</summary>
    /// <exception cref="KernelException">The process has no descriptor left.</exception>
    internal static (int A, int B) Pair(int kind)
    {
        int* pair = stackalloc int[2];
        // SAFETY: socketpair writes two ints into an array of two.
        int result = SocketPair(AF_UNIX, kind | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair);
        return result == 0 ? (pair[0], pair[1]) : throw new KernelException("cannot make a pair of sockets", CallResult.LastError);
    }

    /// <summary>Waits until a descriptor is ready for something, or its peer is gone. Signals do not end it.</summary>
    /// <param name="fd">The descriptor.</param>
    /// <param name="events">What for: POLL….</param>
    /// <param name="timeoutMs">Longest wait; -1 for ever.</param>
    /// <returns>What it is ready for; 0 if the time was up.</returns>
    internal static short Wait(int fd, short events, int timeoutMs)
    {
        PollEntry entry = new() { Fd = fd, Events = events };
        long end = Environment.TickCount64 + timeoutMs;
        int leftMs = timeoutMs;
        while (true)
        {
            // SAFETY: poll reads and writes one entry, a local.
            int ready = Poll(&entry, 1, leftMs);
            if (ready >= 0) return ready == 0 ? (short)0 : entry.Returned;
            if (CallResult.LastError != Errno.Interrupted)
                throw new KernelException($"cannot wait for descriptor {fd}", CallResult.LastError);
            if (timeoutMs > 0) leftMs = (int)Math.Max(0, end - Environment.TickCount64);
        }
    }
}

/// <summary>struct msghdr (recvmsg(2)).</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct MessageHeader
{
    internal void* Name;
    internal uint NameLength;
    internal IoVector* Vectors;
    internal nuint VectorCount;
    internal void* Control;
    internal nuint ControlLength;
    internal int Flags;
}

/// <summary>struct cmsghdr (cmsg(3)); its data follows, 8-byte aligned.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ControlHeader
{
    internal nuint Length;
    internal int Level;
    internal int Type;
}

/// <summary>struct ucred (unix(7)).</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct PeerCredentials
{
    internal int ProcessId;
    internal uint UserId;
    internal uint GroupId;
}

/// <summary>struct pollfd (poll(2)).</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct PollEntry
{
    internal int Fd;
    internal short Events;
    internal short Returned;
}

/// <summary>struct sockaddr_un (unix(7)).</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct UnixAddress
{
    /// <summary>Bytes for the path, its terminating zero included.</summary>
    internal const int PathMax = 108;

    internal ushort Family;
    internal fixed byte Path[PathMax];
}
