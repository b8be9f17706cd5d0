using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <content>
/// Bytes between a socket and pieces of memory, for devices whose guests name the peers: whatever the peer does is an error number, never
/// an exception. Descriptors that a peer sends along are closed by the kernel.
/// </content>
internal sealed unsafe partial class UnixSocket
{
    /// <summary>Connects to a listening path.</summary>
    /// <param name="path">At most 107 bytes.</param>
    /// <param name="isSeqPacket">A socket of messages instead of a stream.</param>
    /// <param name="errno"><see cref="Errno.Again"/> if its backlog is full, NoEntry or ConnectionRefused if no socket listens
    /// there.</param>
    /// <returns>Null if it is not connected.</returns>
    internal static UnixSocket? TryConnect(string path, bool isSeqPacket, out Errno errno) =>
        BrokerLink.ForSocket(path) is { } broker ? ConnectBy(broker, path, isSeqPacket, out errno)
            : TryConnect(path, isSeqPacket ? SocketCalls.SOCK_SEQPACKET : SocketCalls.SOCK_STREAM, out errno);

    /// <summary>As above, to a socket of any type, and not by a broker.</summary>
    internal static UnixSocket? TryConnect(string path, int type, out Errno errno)
    {
        UnixAddress address = AddressOf(path, out uint length);
        int fd = SocketCalls.Socket(SocketCalls.AF_UNIX, StreamType ^ SocketCalls.SOCK_STREAM ^ type, 0);
        errno = fd >= 0 ? Errno.None : LastError;
        if (fd < 0) return null;
        // SAFETY: connect reads length bytes of a local.
        if (SocketCalls.Connect(fd, &address, length) == 0) return new UnixSocket(fd);
        errno = LastError;
        _ = SocketCalls.Close(fd);
        return null;
    }

    /// <summary>Sends pieces of guest memory, in order.</summary>
    /// <param name="vectors">Memory that is held; 1 piece or more, at most 1024.</param>
    /// <param name="sent">Bytes that were taken: on a socket of messages all or none.</param>
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

    /// <summary>Receives into pieces of guest memory, in order.</summary>
    /// <param name="vectors">Memory that is held; 1 piece or more, at most 1024.</param>
    /// <param name="received">Bytes that came; 0 without an error is the end of the stream.</param>
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
        PollEntry entry = new() { Fd = Number, Events = SocketCalls.POLLRDHUP };
        // SAFETY: poll reads and writes one entry, a local; it does not wait.
        if (SocketCalls.Poll(&entry, 1, 0) <= 0) return default;
        return ((entry.Returned & (SocketCalls.POLLRDHUP | SocketCalls.POLLHUP)) != 0, (entry.Returned & SocketCalls.POLLHUP) != 0);
    }

    /// <summary>Asks for room for messages of a length; the system may grant less.</summary>
    internal void AskForSendRoom(int bytes) =>
        // SAFETY: setsockopt reads one int, a parameter.
        _ = SocketCalls.SetOption(Number, SocketCalls.SOL_SOCKET, SocketCalls.SO_SNDBUF, &bytes, sizeof(int));

    private Errno Receive(Span<byte> bytes, int flags, out uint received)
    {
        // SAFETY: the span is pinned for the call, and the kernel writes no more than its length.
        fixed (byte* start = bytes)
        {
            IoVector vector = new((nint)start, (nuint)bytes.Length);
            return Receive(&vector, 1, flags, out received);
        }
    }

    private Errno Send(IoVector* vectors, int count, out uint sent)
    {
        // SAFETY: sendmsg reads a local and as many vectors as it says; what they point to is the caller's promise.
        MessageHeader message = new() { Vectors = vectors, VectorCount = (nuint)count };
        return Finish(SocketCalls.SendMessage(Number, &message, SocketCalls.MSG_DONTWAIT | SocketCalls.MSG_NOSIGNAL), out sent);
    }

    private Errno Receive(IoVector* vectors, int count, int flags, out uint received)
    {
        // SAFETY: recvmsg reads as many vectors as the local says, and writes what they point to and the local's flags; no name and no
        // control data.
        MessageHeader message = new() { Vectors = vectors, VectorCount = (nuint)count };
        return Finish(SocketCalls.ReceiveMessage(Number, &message, flags | SocketCalls.MSG_DONTWAIT), out received);
    }

    /// <summary>A call that does not wait is not interrupted either.</summary>
    private static Errno Finish(nint result, out uint bytes)
    {
        bytes = result < 0 ? 0 : (uint)result;
        return result < 0 ? LastError : Errno.None;
    }
}
