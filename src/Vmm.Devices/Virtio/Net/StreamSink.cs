using System.Buffers.Binary;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// Frames to a stream, each after its length. What a full stream does not take of a frame is kept: the guest's buffers are free at once.
/// </summary>
internal sealed class StreamSink : INetSink
{
    /// <summary>More vectors than a frame has, and one for its length.</summary>
    private const int VectorsMax = 257;

    private readonly PinnedBytes _prefix = new(StreamSource.PrefixLength);
    private readonly PinnedBytes _rest = new(StreamSource.PrefixLength + NetProtocol.FrameBytesMax);
    private readonly IoVector[] _vectors = new IoVector[VectorsMax];
    private readonly FollowedEnd<WritableWatch> _end;
    private readonly Action _onReady;
    private int _restStart;
    private int _restEnd;

    internal StreamSink(NetSocket socket, IReactor reactor, Action onReady)
    {
        _onReady = onReady;
        _end = new FollowedEnd<WritableWatch>(socket.End, fd => new WritableWatch(fd, reactor, OnWritable));
    }

    public Errno Send(ReadOnlySpan<IoVector> vectors)
    {
        if (_end.Follow()) (_restStart, _restEnd) = (0, 0);
        if (_end.Fd is null) return Errno.BrokenPipe;
        if (_restStart < _restEnd && !TrySendRest()) return Errno.Again;

        nuint length = 0;
        foreach (ref readonly IoVector vector in vectors) length += vector.Length;
        BinaryPrimitives.WriteUInt32BigEndian(_prefix.AsSpan(), (uint)length);
        _vectors[0] = _prefix.Piece(0, StreamSource.PrefixLength);
        vectors.CopyTo(_vectors.AsSpan(1));
        ReadOnlySpan<IoVector> all = _vectors.AsSpan(0, 1 + vectors.Length);
        Errno errno = VectorCalls.Send(_end.Fd.Number, all, out int sent);
        if (errno is Errno.Again or Errno.Interrupted)
        {
            _end.Watch!.Await();
            return Errno.Again;
        }
        // The other end is gone; the source will find out.
        if (errno != Errno.None) return Errno.BrokenPipe;
        KeepRest(all, sent);
        return Errno.None;
    }

    public void Dispose() => _end.Dispose();

    private bool TrySendRest()
    {
        _vectors[0] = _rest.Piece(_restStart, _restEnd - _restStart);
        Errno errno = VectorCalls.Send(_end.Fd!.Number, _vectors.AsSpan(0, 1), out int sent);
        _restStart += sent;
        if (errno is not (Errno.None or Errno.Again or Errno.Interrupted)) _restStart = _restEnd;
        if (_restStart == _restEnd) return true;
        _end.Watch!.Await();
        return false;
    }

    private void KeepRest(ReadOnlySpan<IoVector> vectors, int sent)
    {
        (_restStart, _restEnd) = (0, 0);
        foreach (ref readonly IoVector vector in vectors)
        {
            if ((nuint)sent >= vector.Length)
            {
                sent -= (int)vector.Length;
                continue;
            }
            Span<byte> piece = vector.Slice((nuint)sent, (int)vector.Length - sent);
            piece.CopyTo(_rest.AsSpan(_restEnd));
            _restEnd += piece.Length;
            sent = 0;
        }
        // Without a next frame nothing would send it.
        if (_restEnd > 0) _end.Watch!.Await();
    }

    private void OnWritable()
    {
        if (_end.Fd is not null && _restStart < _restEnd && !TrySendRest()) return;
        _onReady();
    }
}
