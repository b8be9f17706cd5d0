using System.Buffers.Binary;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// Frames from a stream, each after its length. Many are read at once, so these are copied. It also sees to the peers: takes those that
/// connect, one after the other, or connects again to one that hung up.
/// </summary>
internal sealed class StreamSource : INetSource, IKeepsFrames
{
    internal const int PrefixLength = sizeof(uint);

    /// <summary>Longest frame a peer may send; who says more speaks something else.</summary>
    private const int FrameBytesMax = NetProtocol.FrameBytesMax;

    private const int BufferLength = 4 * (PrefixLength + FrameBytesMax);

    private readonly NetSocket _socket;
    private readonly AcceptLoop? _accepting;
    private readonly RetryTimer? _reconnect;
    private readonly PinnedBytes _buffer = new(BufferLength);
    private readonly IoVector[] _free = new IoVector[1];
    private readonly FollowedEnd<ReadableWatch> _peer;
    private int _start;
    private int _end;

    internal StreamSource(NetSocket socket, IReactor reactor, Action onReady)
    {
        _socket = socket;
        _peer = new FollowedEnd<ReadableWatch>(socket.End, fd => new ReadableWatch(fd, reactor, onReady));
        if (socket.Listener is { } listener) _accepting = new AcceptLoop(listener.DuplicateSocket(), reactor, Accept);
        if (socket.CanReconnect) _reconnect = new RetryTimer(reactor, socket.Description, TryReconnect);
        Follow();
        if (_peer.Fd is null) AwaitPeer();
    }

    public bool IsReady => HasFrame || _peer.Watch is { IsReady: true };

    private bool HasFrame => HasLength && LengthOfNext <= FrameBytesMax && _end - _start - PrefixLength >= LengthOfNext;

    private bool HasLength => _end - _start >= PrefixLength;

    private int LengthOfNext => (int)Math.Min(BinaryPrimitives.ReadUInt32BigEndian(_buffer.AsSpan(_start)), int.MaxValue);

    public IEnumerable<byte[]> Kept
    {
        get
        {
            for (int start = _start; _end - start >= PrefixLength;)
            {
                uint length = BinaryPrimitives.ReadUInt32BigEndian(_buffer.AsSpan(start));
                start += PrefixLength;
                if (length > (uint)(_end - start)) yield break;
                yield return _buffer.AsSpan(start, (int)length).ToArray();
                start += (int)length;
            }
        }
    }

    public Errno Receive(ReadOnlySpan<IoVector> vectors, out int length)
    {
        length = 0;
        while (!HasFrame)
        {
            if (!TryRead()) return Errno.Again;
        }
        // Not before: a peer that connects and hangs up counts as away.
        _reconnect?.Succeeded();
        int frame = LengthOfNext;
        ReadOnlySpan<byte> left = _buffer.AsSpan(_start + PrefixLength, frame);
        foreach (ref readonly IoVector vector in vectors)
        {
            int here = (int)Math.Min((nuint)left.Length, vector.Length);
            left[..here].CopyTo(vector.Slice(0, here));
            left = left[here..];
            length += here;
        }
        _start += PrefixLength + frame;
        return Errno.None;
    }

    public void Dispose()
    {
        _reconnect?.Cancel();
        _accepting?.Stop();
        _peer.Dispose();
    }

    /// <summary>Reads as much as there is room for.</summary>
    /// <returns>False if there is nothing, or no peer any more.</returns>
    private bool TryRead()
    {
        if (HasLength && LengthOfNext > FrameBytesMax) return HangUp();
        if (_peer.Watch is not { IsReady: true } watch) return false;
        _buffer.AsSpan(_start, _end - _start).CopyTo(_buffer.AsSpan());
        (_start, _end) = (0, _end - _start);
        _free[0] = _buffer.Piece(_end, _buffer.Length - _end);
        Errno errno = VectorCalls.Receive(_peer.Fd!.Number, _free, out int length);
        if (errno == Errno.Interrupted) return true;
        if (errno == Errno.Again)
        {
            watch.FoundEmpty();
            return false;
        }
        _end += length;
        return length > 0 || HangUp();
    }

    private bool HangUp()
    {
        _socket.End.Change(null);
        Follow();
        AwaitPeer();
        return false;
    }

    private void AwaitPeer()
    {
        _accepting?.Next();
        // The kernel reports no path on which a process listens again: it has to be tried.
        _reconnect?.Await();
    }

    private bool TryReconnect()
    {
        if (!_socket.TryReconnect()) return false;
        Follow();
        return true;
    }

    private bool Accept(UnixSocket peer)
    {
        _socket.End.Change(peer);
        try
        {
            Follow();
            return false;
        }
        catch (KernelException)
        {
            _peer.Lose();
            throw;
        }
    }

    /// <summary>Reads from the present peer.</summary>
    private void Follow()
    {
        if (_peer.Follow()) (_start, _end) = (0, 0);
    }
}
