namespace Vmm.Devices;

/// <summary>What one receive brought.</summary>
/// <param name="Bytes">Bytes received; 0 with no error is the end of the stream.</param>
/// <param name="Errno">Why nothing came; <see cref="Errno.Again"/> if there is nothing yet.</param>
/// <param name="Truncated">The peer sent more descriptors than there was room for, or than this process may open. Those that came are
/// kept.</param>
internal readonly record struct Reception(int Bytes, Errno Errno, bool Truncated);

/// <summary>
/// A Unix socket that carries bytes and descriptors (unix(7)), or listens at a path (<see cref="UnixEndpoint"/>). Sends and receives never
/// block and never raise SIGPIPE, whatever the peer does to the flags of a descriptor it shares with us: they ask for it with each call.
/// </summary>
internal sealed unsafe class UnixSocket : OwnedFd
{
    /// <summary>CMSG_SPACE of <see cref="ReceivedFds.CountMax"/> descriptors: a header of 16 bytes, then 4 bytes each.</summary>
    private const int ControlBytes = 16 + (ReceivedFds.CountMax * sizeof(int));

    /// <summary>
    /// Most descriptors sent at once: more than any receiver of this kind has room for, so that a test can send too many.
    /// </summary>
    internal const int SentFdsMax = 16;

    /// <summary>Takes over a connected or listening socket.</summary>
    internal UnixSocket(int fd) : base(fd)
    {
    }

    /// <summary>Where it listens; null for one that does not.</summary>
    internal SocketFile? BoundTo { get; set; }

    /// <summary>Where the broker made it listen; null for one that it did not.</summary>
    internal string? BrokeredPath { get; init; }

    /// <summary>Whether the broker made it, and looked who listens there.</summary>
    internal bool IsBrokered { get; init; }

    /// <summary>A second descriptor of the same socket.</summary>
    /// <exception cref="KernelException">The process has no descriptor left.</exception>
    internal UnixSocket DuplicateSocket() => new(DuplicateNumber()) { BoundTo = BoundTo, BrokeredPath = BrokeredPath };

    /// <summary>Two sockets connected to each other.</summary>
    internal static (UnixSocket A, UnixSocket B) Pair() => Pair(SocketCalls.SOCK_STREAM);

    /// <summary>Two sockets of datagrams connected to each other.</summary>
    internal static (UnixSocket A, UnixSocket B) DatagramPair() => Pair(SocketCalls.SOCK_DGRAM);

    private static (UnixSocket A, UnixSocket B) Pair(int kind)
    {
        (int a, int b) = SocketCalls.Pair(kind);
        return (new UnixSocket(a), new UnixSocket(b));
    }

    /// <summary>Whether a descriptor of unknown origin is a Unix stream socket.</summary>
    internal static bool IsUnixStream(int fd) =>
        SocketCalls.GetOption(fd, SocketCalls.SO_DOMAIN, out int domain) == Errno.None && domain == SocketCalls.AF_UNIX
        && SocketCalls.GetOption(fd, SocketCalls.SO_TYPE, out int type) == Errno.None && type == SocketCalls.SOCK_STREAM;

    /// <summary>Takes the next connection of a listening socket.</summary>
    /// <param name="errno"><see cref="Errno.Again"/> if no connection waits; ProcessFileLimit if this process can open no more.</param>
    internal UnixSocket? Accept(out Errno errno)
    {
        // SAFETY: the peer's address is not asked for.
        int fd = SocketCalls.Accept(Number, null, null, SocketCalls.SOCK_NONBLOCK | SocketCalls.SOCK_CLOEXEC);
        errno = CallResult.Of(fd);
        return fd >= 0 ? new UnixSocket(fd) : null;
    }

    /// <summary>
    /// Removes the path this socket was bound to, if the path still names this socket. Call it before the socket is closed: until then no
    /// other file gets its inode number.
    /// </summary>
    internal void RemovePath()
    {
        if (BrokeredPath is { } path) BrokerLink.Current?.Ask(BrokerCall.Remove, path, out _);
        BoundTo?.Remove();
    }

    /// <summary>
    /// Receives bytes into a buffer, and the descriptors that came with them, close-on-exec, as far as there is room for them.
    /// </summary>
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
            nint result = SocketCalls.ReceiveMessage(Number, &message, SocketCalls.MSG_DONTWAIT | SocketCalls.MSG_CMSG_CLOEXEC);
            Errno errno = CallResult.Of(result, out int received);
            if (errno != Errno.None) return new Reception(0, errno, false);
            Collect(message, fds);
            return new Reception(received, Errno.None, (message.Flags & SocketCalls.MSG_CTRUNC) != 0);
        }
    }

    /// <summary>
    /// Sends bytes, one at least; at most <see cref="SentFdsMax"/> descriptors go with the first of them and stay open here. The error is
    /// <see cref="Errno.Again"/> if the peer does not read, <see cref="Errno.BrokenPipe"/> if it is gone.
    /// </summary>
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
            errno = Send(&message, out int sent);
            return sent;
        }
    }

    /// <summary>Sends 1 to 1024 pieces of guest memory that is held, in order: on a socket of messages all or none.</summary>
    internal Errno Send(ReadOnlySpan<IoVector> vectors, out uint sent)
    {
        // SAFETY: vectors are made of checked translations whose mapping the caller holds; the kernel only reads them. Their layout is that
        // of iovec.
        fixed (IoVector* start = vectors) return Send(start, vectors.Length, out sent);
    }

    /// <summary>Sends two pieces of memory, in order; either may be empty.</summary>
    internal Errno SendParts(ReadOnlySpan<byte> first, ReadOnlySpan<byte> second, out uint sent)
    {
        // SAFETY: both spans are pinned for the call, and the kernel only reads them.
        fixed (byte* one = first, two = second)
        {
            // SAFETY: two vectors in an array of two.
            IoVector* vectors = stackalloc IoVector[2];
            vectors[0] = new((nint)one, (nuint)first.Length);
            vectors[1] = new((nint)two, (nuint)second.Length);
            return Send(vectors, second.IsEmpty ? 1 : 2, out sent);
        }
    }

    /// <summary>
    /// Receives into 1 to 1024 pieces of guest memory that is held, in order; no bytes without an error are the end of the stream.
    /// Descriptors that a peer sends along are closed by the kernel.
    /// </summary>
    internal Errno Receive(ReadOnlySpan<IoVector> vectors, out uint received)
    {
        // SAFETY: vectors are made of checked translations whose mapping the caller holds; the kernel writes no more than their lengths.
        fixed (IoVector* start = vectors) return Receive(start, vectors.Length, 0, out received);
    }

    /// <summary>Receives into a span.</summary>
    internal Errno Receive(Span<byte> bytes, out uint received) => Receive(bytes, 0, out received);

    /// <summary>Looks at the first bytes and leaves them.</summary>
    internal Errno Peek(Span<byte> bytes, out uint received) => Receive(bytes, SocketCalls.MSG_PEEK, out received);

    /// <summary>The length of the next message, which stays; 0 also at the end.</summary>
    internal Errno PeekLength(out uint length) => Receive([], SocketCalls.MSG_PEEK | SocketCalls.MSG_TRUNC, out length);

    /// <summary>Ends one direction: the peer sees the end of the stream, or can't send any more.</summary>
    internal void Shutdown(bool sending) => _ = SocketCalls.Shutdown(Number, sending ? SocketCalls.SHUT_WR : SocketCalls.SHUT_RD);

    /// <summary>Whether the peer has shut its sending down, and whether nothing goes in either direction any more.</summary>
    internal (bool PeerEnded, bool HungUp) Ends()
    {
        short ready = SocketCalls.Wait(Number, SocketCalls.POLLRDHUP, timeoutMs: 0);
        return ((ready & (SocketCalls.POLLRDHUP | SocketCalls.POLLHUP)) != 0, (ready & SocketCalls.POLLHUP) != 0);
    }

    /// <summary>Asks for room for messages of a length; the system may grant less.</summary>
    internal void AskForSendRoom(int bytes) =>
        // SAFETY: setsockopt reads one int, a parameter.
        _ = SocketCalls.SetOption(Number, SocketCalls.SOL_SOCKET, SocketCalls.SO_SNDBUF, &bytes, sizeof(int));

    /// <summary>Blocks until there is something to read or the peer is gone; -1 waits for ever. False if the time was up.</summary>
    internal bool WaitReadable(int timeoutMs) => SocketCalls.Wait(Number, SocketCalls.POLLIN, timeoutMs) != 0;

    /// <summary>As <see cref="WaitReadable"/>, until there is room to write.</summary>
    internal bool WaitWritable(int timeoutMs) => SocketCalls.Wait(Number, SocketCalls.POLLOUT, timeoutMs) != 0;

    /// <summary>The process that made the other end, as the kernel noted it; 0 if it is not visible from here.</summary>
    internal int PeerProcessId() => TryGetPeer(Number, out PeerCredentials peer) ? peer.ProcessId : 0;

    /// <summary>
    /// Whether another user could be first to listen at a path that this socket was connected to, and is: in a directory that everyone may
    /// write to, such as /tmp, a socket of this user or of root is trusted only.
    /// </summary>
    internal bool IsOfStranger(string path, out uint user)
    {
        user = 0;
        if (IsBrokered || !TryGetPeer(Number, out PeerCredentials peer)) return false;
        user = peer.UserId;
        if (user == 0 || user == SocketCalls.EffectiveUser()) return false;
        string directory = Path.GetDirectoryName(Path.GetFullPath(path)) ?? "/";
        return (File.GetUnixFileMode(directory) & UnixFileMode.OtherWrite) != 0;
    }

    /// <summary>Whether the process at the other end of a connected Unix socket is of this user or of root (SO_PEERCRED).</summary>
    internal static bool IsPeerTrusted(int fd) =>
        TryGetPeer(fd, out PeerCredentials peer) && (peer.UserId == 0 || peer.UserId == SocketCalls.EffectiveUser());

    private static bool TryGetPeer(int fd, out PeerCredentials peer) =>
        SocketCalls.GetOption(fd, SocketCalls.SO_PEERCRED, out peer) == Errno.None;

    private Errno Receive(Span<byte> bytes, int flags, out uint received)
    {
        // SAFETY: the span is pinned for the call, and the kernel writes no more than its length.
        fixed (byte* start = bytes)
        {
            IoVector vector = new((nint)start, (nuint)bytes.Length);
            return Receive(&vector, 1, flags, out received);
        }
    }

    private Errno Receive(IoVector* vectors, int count, int flags, out uint received)
    {
        // SAFETY: recvmsg reads as many vectors as the local says, and writes what they point to and the local's flags; no name and no
        // control data.
        MessageHeader message = new() { Vectors = vectors, VectorCount = (nuint)count };
        Errno errno = CallResult.Of(SocketCalls.ReceiveMessage(Number, &message, flags | SocketCalls.MSG_DONTWAIT), out int length);
        received = (uint)length;
        return errno;
    }

    private Errno Send(IoVector* vectors, int count, out uint sent)
    {
        // SAFETY: sendmsg reads a local and as many vectors as it says; what they point to is the caller's promise.
        MessageHeader message = new() { Vectors = vectors, VectorCount = (nuint)count };
        Errno errno = Send(&message, out int length);
        sent = (uint)length;
        return errno;
    }

    private Errno Send(MessageHeader* message, out int sent) =>
        // SAFETY: the message and what it points to are the caller's, and the kernel only reads them.
        CallResult.Of(SocketCalls.SendMessage(Number, message, SocketCalls.MSG_DONTWAIT | SocketCalls.MSG_NOSIGNAL), out sent);

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
}
