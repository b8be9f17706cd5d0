using System.Runtime.InteropServices;
using System.Text;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>What one receive brought.</summary>
/// <param name="Bytes">Bytes received; 0 with no error is the end of the stream.</param>
/// <param name="Errno">Why nothing came; <see cref="Errno.Again"/> if there is nothing yet.</param>
/// <param name="Truncated">The peer sent more descriptors than there was room for, or than this process may open. Those that came are
/// kept.</param>
internal readonly record struct Reception(int Bytes, Errno Errno, bool Truncated);

/// <summary>
/// A Unix stream socket that carries descriptors (unix(7)). Sends and receives never block and never raise SIGPIPE, whatever the peer does
/// to the flags of a descriptor it shares with us: they ask for it with each call.
/// </summary>
internal sealed unsafe partial class UnixSocket : OwnedFd
{
    private const int Backlog = 16;

    /// <summary>CMSG_SPACE of <see cref="ReceivedFds.CountMax"/> descriptors: a header of 16 bytes, then 4 bytes each.</summary>
    private const int ControlBytes = 16 + (ReceivedFds.CountMax * sizeof(int));

    /// <summary>Longest path of a Unix socket, in bytes of UTF-8 (unix(7)).</summary>
    internal const int PathBytesMax = UnixAddress.PathMax - 1;

    /// <summary>Where it listens; null for one that does not.</summary>
    private SocketFile? _boundTo;

    /// <summary>Where the broker made it listen; null for one that it did not.</summary>
    private string? _brokeredPath;

    /// <summary>Whether the broker made it, and looked who listens there.</summary>
    private bool _isBrokered;

    /// <summary>
    /// Most descriptors sent at once: more than any receiver of this kind has room for, so that a test can send too many.
    /// </summary>
    internal const int SentFdsMax = 16;

    /// <summary>Takes over a connected or listening stream socket.</summary>
    internal UnixSocket(int fd) : base(fd)
    {
    }

    /// <summary>A second descriptor of the same socket.</summary>
    /// <exception cref="KernelException">The process has no descriptor left.</exception>
    internal UnixSocket DuplicateSocket() => new(DuplicateNumber()) { _boundTo = _boundTo, _brokeredPath = _brokeredPath };

    /// <summary>Listens on a path that does not exist yet.</summary>
    /// <param name="path">At most 107 bytes.</param>
    /// <param name="mode">The permissions the path has from the moment it appears.</param>
    /// <param name="backlog">How many may wait to be accepted.</param>
    /// <exception cref="KernelException">The path exists, or its directory can't be written.</exception>
    internal static UnixSocket Listen(string path, UnixFileMode mode, int backlog = Backlog) =>
        TryListen(path, mode, backlog, group: null, out Errno errno) ?? throw new KernelException($"cannot listen on '{path}'", errno);

    private static UnixSocket? TryListen(string path, UnixFileMode mode, int backlog, uint? group, out Errno errno)
    {
        UnixAddress address = AddressOf(path, out uint length);
        UnixSocket socket = new(Create());
        // The mode of a socket that is not bound yet is what bind(2) gives the path, less what the process's umask takes.
        // SAFETY: bind reads length bytes of a local.
        bool isBound = SocketCalls.ChangeMode(socket.Number, (uint)mode) == 0 && SocketCalls.Bind(socket.Number, &address, length) == 0;
        errno = isBound ? Errno.None : LastError;
        if (!isBound)
        {
            socket.Dispose();
            return null;
        }
        socket._boundTo = SocketFile.At(path);
        // Until it listens, each connect(2) is refused: by then the path is the wanted users', and never was another's.
        Errno cannotShare = Share(path, mode, group);
        errno = cannotShare;
        if (errno == Errno.None && SocketCalls.Listen(socket.Number, backlog) != 0) errno = LastError;
        if (errno == Errno.None) return socket;
        socket.RemovePath();
        socket.Dispose();
        return cannotShare == Errno.None ? null : throw new KernelException(
            $"cannot give '{path}' {(group is null ? "its mode" : $"to group {group}")}", cannotShare,
            "only root may give it to any group, and another user to a group that the process belongs to");
    }

    /// <summary>
    /// Gives a path that this process has just bound its group, and what the umask took from its mode. A link that took its place is not
    /// followed.
    /// </summary>
    private static Errno Share(string path, UnixFileMode mode, uint? group)
    {
        const UnixFileMode OwnersOwn = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
        if (group is { } wanted && SocketCalls.ChangeOwner(path, uint.MaxValue, wanted) != 0) return LastError;
        if ((mode & ~OwnersOwn) == 0) return Errno.None;
        int result = SocketCalls.ChangeModeAt(SocketCalls.AT_FDCWD, path, (uint)mode, SocketCalls.AT_SYMLINK_NOFOLLOW);
        return result == 0 ? Errno.None : LastError;
    }

    /// <summary>Connects to a listening path. A Unix socket connects at once or not at all.</summary>
    /// <exception cref="KernelException">No socket listens there, or its backlog is full.</exception>
    internal static UnixSocket Connect(string path)
    {
        if (BrokerLink.ForSocket(path) is { } broker)
            return ConnectBy(broker, path, isSeqPacket: false, out Errno refused)
                ?? throw new KernelException($"cannot connect to '{path}'", refused);
        UnixAddress address = AddressOf(path, out uint length);
        UnixSocket socket = new(Create());
        // SAFETY: connect reads length bytes of a local.
        if (SocketCalls.Connect(socket.Number, &address, length) == 0) return socket;
        Errno errno = LastError;
        socket.Dispose();
        throw new KernelException($"cannot connect to '{path}'", errno);
    }

    private static UnixSocket? ConnectBy(BrokerLink broker, string path, bool isSeqPacket, out Errno errno)
    {
        int fd = broker.Ask(BrokerCall.Connect, path, out errno, option: isSeqPacket ? (byte)1 : (byte)0);
        return fd < 0 ? null : new UnixSocket(fd) { _isBrokered = true };
    }

    private static UnixSocket ListenBy(BrokerLink broker, string path, UnixFileMode mode, uint? group)
    {
        int fd = broker.Ask(BrokerCall.Listen, path, out Errno errno, (uint)mode, group ?? 0, group is null ? (byte)0 : (byte)1);
        return fd >= 0 ? new UnixSocket(fd) { _isBrokered = true, _brokeredPath = path }
            : throw new KernelException($"cannot listen on '{path}'", errno,
                errno == Errno.AddressInUse ? "another process listens there" : WhatToDo(path, errno));
    }

    /// <summary>Two sockets connected to each other.</summary>
    internal static (UnixSocket A, UnixSocket B) Pair()
    {
        (int a, int b) = MakePair(StreamType);
        return (new UnixSocket(a), new UnixSocket(b));
    }

    /// <summary>Two sockets of messages connected to each other.</summary>
    internal static (int A, int B) PacketPair() => MakePair(StreamType ^ SocketCalls.SOCK_STREAM ^ SocketCalls.SOCK_SEQPACKET);

    /// <summary>Two sockets of datagrams connected to each other.</summary>
    internal static (OwnedFd A, OwnedFd B) DatagramPair()
    {
        (int a, int b) = MakePair(SocketCalls.SOCK_DGRAM | SocketCalls.SOCK_NONBLOCK | SocketCalls.SOCK_CLOEXEC);
        return (new OwnedFd(a), new OwnedFd(b));
    }

    private static (int A, int B) MakePair(int type)
    {
        int* pair = stackalloc int[2];
        // SAFETY: socketpair writes two ints into an array of two.
        int result = SocketCalls.SocketPair(SocketCalls.AF_UNIX, type, 0, pair);
        return result == 0 ? (pair[0], pair[1]) : throw new KernelException("cannot make a pair of sockets", LastError);
    }

    /// <summary>Whether a descriptor of unknown origin is a Unix stream socket.</summary>
    internal static bool IsUnixStream(int fd) =>
        OptionOf(fd, SocketCalls.SO_DOMAIN) == SocketCalls.AF_UNIX && OptionOf(fd, SocketCalls.SO_TYPE) == SocketCalls.SOCK_STREAM;

    /// <summary>Takes the next connection of a listening socket.</summary>
    /// <param name="errno"><see cref="Errno.Again"/> if no connection waits; ProcessFileLimit if this process can open no more.</param>
    internal UnixSocket? Accept(out Errno errno)
    {
        // SAFETY: the peer's address is not asked for.
        int fd = SocketCalls.Accept(Number, null, null, SocketCalls.SOCK_NONBLOCK | SocketCalls.SOCK_CLOEXEC);
        errno = fd >= 0 ? Errno.None : LastError;
        return fd >= 0 ? new UnixSocket(fd) : null;
    }

    /// <summary>Receives bytes into a buffer, and the descriptors that came with them.</summary>
    /// <param name="buffer">At least one byte.</param>
    /// <param name="fds">Gets the descriptors, close-on-exec, as far as it has room.</param>
    internal Reception Receive(Span<byte> buffer, ReceivedFds fds)
    {
        byte* control = stackalloc byte[ControlBytes];
        // SAFETY: the buffer is pinned during the call; the kernel writes at most buffer.Length bytes there and ControlLength into control.
        fixed (byte* bytes = buffer)
        {
            IoVector vector = new((nint)bytes, (nuint)buffer.Length);
            MessageHeader message = new() { Vectors = &vector, VectorCount = 1 };
            if (fds.Room > 0)
            {
                message.Control = control;
                message.ControlLength = (nuint)(sizeof(ControlHeader) + (fds.Room * sizeof(int)));
            }
            nint received;
            Errno errno;
            do
            {
                received = SocketCalls.ReceiveMessage(Number, &message, SocketCalls.MSG_DONTWAIT | SocketCalls.MSG_CMSG_CLOEXEC);
                errno = received < 0 ? LastError : Errno.None;
            }
            while (errno == Errno.Interrupted);
            if (received < 0) return new Reception(0, errno, false);
            Collect(message, fds);
            return new Reception((int)received, Errno.None, (message.Flags & SocketCalls.MSG_CTRUNC) != 0);
        }
    }

    /// <summary>Sends bytes; the descriptors go with the first of them and stay open here.</summary>
    /// <param name="bytes">At least one byte.</param>
    /// <param name="fds">At most <see cref="SentFdsMax"/>.</param>
    /// <param name="errno"><see cref="Errno.Again"/> if the peer does not read, <see cref="Errno.BrokenPipe"/> if it is gone.</param>
    /// <returns>Bytes sent, perhaps fewer than given.</returns>
    internal int Send(ReadOnlySpan<byte> bytes, ReadOnlySpan<int> fds, out Errno errno)
    {
        byte* control = stackalloc byte[sizeof(ControlHeader) + (SentFdsMax * sizeof(int))];
        // SAFETY: both buffers are pinned or on the stack during the call and the kernel only reads them; control has room for the header
        // and SentFdsMax descriptors, which the check above the copy holds.
        fixed (byte* data = bytes)
        {
            IoVector vector = new((nint)data, (nuint)bytes.Length);
            MessageHeader message = new() { Vectors = &vector, VectorCount = 1 };
            if (!fds.IsEmpty)
            {
                ArgumentOutOfRangeException.ThrowIfGreaterThan(fds.Length, SentFdsMax);
                ControlHeader* header = (ControlHeader*)control;
                header->Length = (nuint)(sizeof(ControlHeader) + (fds.Length * sizeof(int)));
                header->Level = SocketCalls.SOL_SOCKET;
                header->Type = SocketCalls.SCM_RIGHTS;
                fds.CopyTo(new Span<int>(header + 1, fds.Length));
                message.Control = control;
                message.ControlLength = header->Length;
            }
            nint sent;
            do
            {
                sent = SocketCalls.SendMessage(Number, &message, SocketCalls.MSG_DONTWAIT | SocketCalls.MSG_NOSIGNAL);
                errno = sent < 0 ? LastError : Errno.None;
            }
            while (errno == Errno.Interrupted);
            return sent < 0 ? 0 : (int)sent;
        }
    }

    /// <summary>The process that made the other end, as the kernel noted it; 0 if it is not visible from here.</summary>
    internal int PeerProcessId() => TryGetPeer(out PeerCredentials peer) ? peer.ProcessId : 0;

    /// <summary>
    /// Whether another user could be first to listen at a path, and is: in a directory that everyone may write to, such as /tmp, a socket
    /// of this user or of root is trusted only.
    /// </summary>
    /// <param name="path">What this socket was connected to.</param>
    /// <param name="user">Who listens there.</param>
    internal bool IsOfStranger(string path, out uint user)
    {
        user = 0;
        if (_isBrokered || !TryGetPeer(out PeerCredentials peer)) return false;
        user = peer.UserId;
        if (user == 0 || user == SocketCalls.EffectiveUser()) return false;
        string directory = Path.GetDirectoryName(Path.GetFullPath(path)) ?? "/";
        return (File.GetUnixFileMode(directory) & UnixFileMode.OtherWrite) != 0;
    }

    /// <summary>Whether the process at the other end of a connected Unix socket is of this user or of root (SO_PEERCRED).</summary>
    internal static bool IsPeerTrusted(int fd) =>
        TryGetPeer(fd, out PeerCredentials peer) && (peer.UserId == 0 || peer.UserId == SocketCalls.EffectiveUser());

    private bool TryGetPeer(out PeerCredentials peer) => TryGetPeer(Number, out peer);

    private static bool TryGetPeer(int fd, out PeerCredentials peer)
    {
        PeerCredentials credentials = default;
        uint length = (uint)sizeof(PeerCredentials);
        // SAFETY: getsockopt writes at most length bytes into a local of that size.
        bool isKnown = SocketCalls.GetOption(fd, SocketCalls.SOL_SOCKET, SocketCalls.SO_PEERCRED, &credentials, &length) == 0;
        peer = credentials;
        return isKnown;
    }

    /// <summary>Blocks until there is something to read or the peer is gone.</summary>
    /// <param name="timeoutMs">Longest wait; -1 for ever.</param>
    /// <returns>False if the time was up.</returns>
    internal bool WaitReadable(int timeoutMs) => Wait(SocketCalls.POLLIN, timeoutMs);

    /// <summary>As <see cref="WaitReadable"/>, until there is room to write.</summary>
    internal bool WaitWritable(int timeoutMs) => Wait(SocketCalls.POLLOUT, timeoutMs);

    private bool Wait(short events, int timeoutMs)
    {
        PollEntry entry = new() { Fd = Number, Events = events };
        // SAFETY: poll reads and writes one entry, a local. An interrupted call counts as nothing ready yet.
        while (true)
        {
            int ready = SocketCalls.Poll(&entry, 1, timeoutMs);
            if (ready >= 0) return ready > 0;
            if (LastError != Errno.Interrupted) throw new KernelException($"cannot wait for {this}", LastError);
        }
    }

    /// <summary>Takes the descriptors out of the control data of a receive.</summary>
    private static void Collect(in MessageHeader message, ReceivedFds fds)
    {
        byte* at = (byte*)message.Control;
        byte* end = at + message.ControlLength;
        // SAFETY: the kernel set ControlLength to what it wrote; each header and its data are checked to lie before that end.
        while (at != null && end - at >= sizeof(ControlHeader))
        {
            ControlHeader* header = (ControlHeader*)at;
            if (header->Length < (nuint)sizeof(ControlHeader) || header->Length > (nuint)(end - at)) return;
            if (header->Level == SocketCalls.SOL_SOCKET && header->Type == SocketCalls.SCM_RIGHTS)
            {
                int count = (int)(header->Length - (nuint)sizeof(ControlHeader)) / sizeof(int);
                foreach (int fd in new ReadOnlySpan<int>(header + 1, count)) fds.Add(fd);
            }
            nuint space = (header->Length + 7) & ~(nuint)7;
            if (space >= (nuint)(end - at)) return;
            at += space;
        }
    }

    private static int StreamType => SocketCalls.SOCK_STREAM | SocketCalls.SOCK_NONBLOCK | SocketCalls.SOCK_CLOEXEC;

    private static Errno LastError => (Errno)Marshal.GetLastPInvokeError();

    private static int Create()
    {
        int fd = SocketCalls.Socket(SocketCalls.AF_UNIX, StreamType, 0);
        return fd >= 0 ? fd : throw new KernelException("cannot make a socket", LastError);
    }

    private static int OptionOf(int fd, int option)
    {
        int value = 0;
        uint length = sizeof(int);
        // SAFETY: getsockopt writes at most length bytes into a local of that size.
        return SocketCalls.GetOption(fd, SocketCalls.SOL_SOCKET, option, &value, &length) == 0 ? value : -1;
    }

    private static UnixAddress AddressOf(string path, out uint length)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        UnixAddress address = new() { Family = SocketCalls.AF_UNIX };
        int bytes = Encoding.UTF8.GetByteCount(path);
        if (bytes >= UnixAddress.PathMax)
            throw new KernelException($"socket path '{path}' has {bytes} bytes", Errno.NameTooLong, $"give it at most {PathBytesMax}");
        // SAFETY: the path and its terminating zero were checked to fit.
        Encoding.UTF8.GetBytes(path, new Span<byte>(address.Path, UnixAddress.PathMax));
        length = (uint)(sizeof(ushort) + bytes + 1);
        return address;
    }
}
