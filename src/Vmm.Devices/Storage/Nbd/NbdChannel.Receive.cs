using System.Buffers.Binary;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <content>Replies.</content>
internal sealed partial class NbdChannel
{
    /// <summary>Bytes that are taken in one call at most, beside those that go into guest memory.</summary>
    private const int StageBytes = 64 * 1024;

    /// <summary>The same where long reads are in flight, of which as little as possible is to be copied.</summary>
    private const int StageBytesOfLongReads = 4 * 1024;

    /// <summary>A read from this length on is a long one.</summary>
    private const int LongRead = 16 * 1024;

    /// <summary>Bytes taken in one turn, about: then the other devices have theirs.</summary>
    private const long BytesPerTurnMax = 4 << 20;

    private readonly PinnedBytes _stage = new(StageBytes);
    private readonly IoVector[] _room = new IoVector[VectorsMax];
    private int _start;
    private int _end;

    /// <summary>What the bytes that come next belong to; null between replies, and while they are skipped.</summary>
    private NbdTransfer? _filling;

    /// <summary>Where in its request they go, and how many there are.</summary>
    private ulong _fillOffset, _fillLeft;

    /// <summary>Bytes that come next and mean nothing to us: the text of an error.</summary>
    private ulong _skipLeft;

    /// <summary>Whether the reply whose bytes come is its last chunk.</summary>
    private bool _isLast;
    private bool _hasLongReads;

    private int Staged => _end - _start;

    /// <summary>Takes what came.</summary>
    /// <param name="isEnding">The server has hung up: nothing will report that again.</param>
    private void Receive(bool isEnding)
    {
        bool isDrained = false;
        for (long taken = 0; !isDrained && !_disposed;)
        {
            if (taken >= BytesPerTurnMax)
            {
                // More may be there: modified, an edge-triggered interest reports that again.
                _reactor.Modify(_readable, Watched);
                break;
            }
            int vectors = Room(out ulong room, out ulong direct);
            Errno error = VectorCalls.Receive(Socket.Number, _room.AsSpan(0, vectors), out int bytes);
            if (error == Errno.Again) break;
            if (error == Errno.Interrupted) continue;
            if (error != Errno.None || bytes == 0)
            {
                _link.Lost(this, error == Errno.None ? "closed the connection" : $"broke the connection: "
                    + $"{KernelException.Describe(error)}");
                return;
            }
            taken += bytes;
            isDrained = (ulong)bytes < room && !isEnding;
            try
            {
                Took((ulong)bytes, direct);
            }
            catch (NbdProtocolException broken)
            {
                _link.Lost(this, broken.Message);
                return;
            }
        }
        // Of all connections: what follows a request that was answered may have gone to another one.
        _link.Flush();
        _link.Publish();
    }

    /// <summary>Where the next bytes go: what is left of a long read's data into guest memory, what follows it into the stage.</summary>
    private int Room(out ulong room, out ulong direct)
    {
        int count = 0;
        direct = 0;
        if (_filling is { } transfer && Staged == 0)
            count = transfer.Describe(_fillOffset, _fillLeft, _room.AsSpan(0, VectorsMax - 1), out direct);
        if (_start > 0)
        {
            _stage.AsSpan(_start, Staged).CopyTo(_stage.AsSpan());
            (_start, _end) = (0, Staged);
        }
        room = direct;
        if (_filling is not null && direct < _fillLeft) return count;
        int most = _hasLongReads ? StageBytesOfLongReads : StageBytes;
        int free = Math.Max(most, _end + NbdProtocol.ExtendedReplyLength + sizeof(ulong)) - _end;
        _room[count] = _stage.Piece(_end, free);
        room += (ulong)free;
        return count + 1;
    }

    private void Took(ulong bytes, ulong direct)
    {
        ulong placed = Math.Min(bytes, direct);
        if (placed > 0) Filled(placed);
        _end += (int)(bytes - placed);
        while (!_disposed && TryParse())
        {
        }
    }

    /// <returns>False if more bytes have to come first.</returns>
    private bool TryParse()
    {
        if (_filling is { } transfer)
        {
            if (Staged == 0) return false;
            int copied = (int)Math.Min((ulong)Staged, _fillLeft);
            transfer.Store(_fillOffset, _stage.AsSpan(_start, copied), (ulong)copied);
            _start += copied;
            Filled((ulong)copied);
            return true;
        }
        if (_skipLeft > 0)
        {
            int skipped = (int)Math.Min((ulong)Staged, _skipLeft);
            _start += skipped;
            _skipLeft -= (ulong)skipped;
            return skipped > 0;
        }
        if (Staged < sizeof(uint)) return false;
        ReadOnlySpan<byte> reply = _stage.AsSpan(_start, Staged);
        return BinaryPrimitives.ReadUInt32BigEndian(reply) switch
        {
            NbdProtocol.SimpleReplyMagic when Export.Replies != NbdReplies.Extended => TrySimple(reply),
            NbdProtocol.StructuredReplyMagic when Export.Replies == NbdReplies.Structured =>
                TryChunk(reply, NbdProtocol.StructuredReplyLength),
            NbdProtocol.ExtendedReplyMagic when Export.Replies == NbdReplies.Extended => TryChunk(reply, NbdProtocol.ExtendedReplyLength),
            _ => throw new NbdProtocolException("sends something that is no reply"),
        };
    }

    private bool TrySimple(ReadOnlySpan<byte> reply)
    {
        if (reply.Length < NbdProtocol.SimpleReplyLength) return false;
        NbdTransfer transfer = Answered(BinaryPrimitives.ReadUInt64BigEndian(reply[8..]));
        if (transfer.Command == NbdCommand.Read && Export.Replies == NbdReplies.Structured)
            throw new NbdProtocolException("answers a read by a simple reply, although structured ones were agreed on");
        transfer.Error = BinaryPrimitives.ReadUInt32BigEndian(reply[4..]);
        _start += NbdProtocol.SimpleReplyLength;
        _isLast = true;
        if (transfer.Command == NbdCommand.Read && transfer.Error == 0) Fill(transfer, 0, transfer.Length);
        else Finish(transfer);
        return true;
    }

    private bool TryChunk(ReadOnlySpan<byte> reply, int headerLength)
    {
        if (reply.Length < headerLength) return false;
        ushort flags = BinaryPrimitives.ReadUInt16BigEndian(reply[4..]), type = BinaryPrimitives.ReadUInt16BigEndian(reply[6..]);
        NbdTransfer transfer = Answered(BinaryPrimitives.ReadUInt64BigEndian(reply[8..]));
        ulong length = headerLength == NbdProtocol.ExtendedReplyLength
            ? BinaryPrimitives.ReadUInt64BigEndian(reply[24..])
            : BinaryPrimitives.ReadUInt32BigEndian(reply[16..]);
        ReadOnlySpan<byte> payload = reply[headerLength..];
        _isLast = (flags & NbdProtocol.ChunkDone) != 0;
        switch (type)
        {
            case NbdProtocol.ChunkNone:
                if (length != 0 || !_isLast) throw new NbdProtocolException("sends a chunk without content that is not the last");
                _start += headerLength;
                Finish(transfer);
                return true;
            case NbdProtocol.ChunkData:
                if (transfer.Command != NbdCommand.Read || length <= sizeof(ulong))
                    throw new NbdProtocolException($"sends {length} bytes of data to a {transfer.Command}");
                if (payload.Length < sizeof(ulong)) return false;
                _start += headerLength + sizeof(ulong);
                Fill(transfer, OffsetOf(transfer, payload, length - sizeof(ulong)), length - sizeof(ulong));
                return true;
            case NbdProtocol.ChunkHole:
                const int HoleLength = sizeof(ulong) + sizeof(uint);
                if (transfer.Command != NbdCommand.Read || length != HoleLength)
                    throw new NbdProtocolException($"sends a hole in {length} bytes to a {transfer.Command}");
                if (payload.Length < HoleLength) return false;
                ulong hole = BinaryPrimitives.ReadUInt32BigEndian(payload[sizeof(ulong)..]);
                if (hole == 0) throw new NbdProtocolException("sends a hole of no bytes");
                ulong offset = OffsetOf(transfer, payload, hole);
                _start += headerLength + HoleLength;
                transfer.Store(offset, [], hole);
                transfer.Received += hole;
                if (_isLast) Finish(transfer);
                return true;
            default:
                if ((type & NbdProtocol.ChunkErrorBit) == 0) throw new NbdProtocolException($"sends a chunk of the unknown type {type}");
                const int ErrorLength = sizeof(uint) + sizeof(ushort);
                if (length is < ErrorLength or > ErrorLength + NbdProtocol.StringMax + sizeof(ulong))
                    throw new NbdProtocolException($"sends an error of {length} bytes");
                if (payload.Length < ErrorLength) return false;
                uint error = BinaryPrimitives.ReadUInt32BigEndian(payload);
                if (error == 0) throw new NbdProtocolException("sends an error without a number");
                if (transfer.Error == 0) transfer.Error = error;
                _start += headerLength + ErrorLength;
                _skipLeft = length - ErrorLength;
                if (_isLast) Finish(transfer);
                return true;
        }
    }

    /// <summary>Where in its request a chunk of a read lies.</summary>
    private static ulong OffsetOf(NbdTransfer transfer, ReadOnlySpan<byte> payload, ulong length)
    {
        ulong offset = BinaryPrimitives.ReadUInt64BigEndian(payload) - transfer.Offset;
        return offset <= transfer.Length && length <= transfer.Length - offset ? offset
            : throw new NbdProtocolException("sends data that was not asked for");
    }

    /// <summary>The request that a reply is for.</summary>
    private NbdTransfer Answered(ulong cookie) => _link.Find(cookie) is { IsSent: true } transfer && transfer.Channel == this
        ? transfer
        : throw new NbdProtocolException("answers a request that was not made");

    /// <summary>The bytes that come next are a part of what is read.</summary>
    private void Fill(NbdTransfer transfer, ulong offset, ulong length)
    {
        if (length > transfer.Length - transfer.Received)
            throw new NbdProtocolException($"sends more than the {transfer.Length} bytes that were asked for");
        _hasLongReads = transfer.Length >= LongRead;
        (_filling, _fillOffset, _fillLeft) = (transfer, offset, length);
    }

    private void Filled(ulong bytes)
    {
        NbdTransfer transfer = _filling!;
        _fillOffset += bytes;
        _fillLeft -= bytes;
        transfer.Received += bytes;
        if (_fillLeft > 0) return;
        _filling = null;
        if (_isLast) Finish(transfer);
    }

    private void Finish(NbdTransfer transfer)
    {
        if (NbdProtocol.IsShutdown(transfer.Error)) throw new NbdProtocolException("is shutting down");
        if (transfer.Command == NbdCommand.Read && transfer.Error == 0 && transfer.Received != transfer.Length)
            throw new NbdProtocolException($"answers a read of {transfer.Length} bytes by {transfer.Received}");
        InFlight--;
        _link.Answered(transfer);
    }
}
