using System.Buffers.Binary;
using System.Diagnostics;
using Vmm.Events;
using Vmm.Events.Rings;

namespace Vmm.Devices;

/// <summary>
/// One operation of a server, from request to reply: as many requests, one after the other, as it takes. Used over and over. A request
/// that was lost with its connection is sent again as it was. On the reactor's thread.
/// </summary>
internal sealed class NbdTransfer
{
    /// <summary>Most bytes of a request whose ends lie within blocks of the server.</summary>
    private const int BounceBytes = 256 * 1024;

    private readonly NbdLink _link;
    private readonly BlockCalls _calls;
    private readonly uint _index;
    private uint _generation;
    private VectorCursor _at;

    /// <summary>The blocks around a request that the server does not take as it is; null if it does.</summary>
    private PinnedBytes? _bounce;
    private int _bounceLength;
    private bool _isFilling;

    /// <summary>Whether a server has got a request of the operation: it may have failed it, and the answer was lost.</summary>
    private bool _wasAsked;

    internal NbdTransfer(NbdLink link, uint index)
    {
        _link = link;
        _index = index;
        _calls = new BlockCalls(Math.Max(link.Export.BlockMin, 1), hasDurableWrites: link.Export.Can(NbdFlags.SendFua));
    }

    /// <summary>The next in the list it is in.</summary>
    internal NbdTransfer? Next { get; set; }

    /// <summary>Whose operation it carries; null while it is free.</summary>
    internal NbdBlockEngine? Engine { get; private set; }

    /// <summary>Since when the server that it needs is away; 0 if it never was.</summary>
    internal long LostAt { get; set; }

    /// <summary>The connection that has its request; null while it waits.</summary>
    internal NbdChannel? Channel { get; set; }

    /// <summary>Whether its request has gone out, all of it.</summary>
    internal bool IsSent { get; set; }

    internal NbdCommand Command { get; private set; }

    /// <summary>Of its request: where.</summary>
    internal ulong Offset { get; private set; }

    /// <summary>Of its request: how many bytes.</summary>
    internal ulong Length { get; private set; }

    /// <summary>The first error of its reply.</summary>
    internal uint Error { get; set; }

    /// <summary>Bytes of a read that came.</summary>
    internal ulong Received { get; set; }

    /// <summary>What its reply is known by: a late reply to an earlier request of this object is known by another.</summary>
    internal ulong Cookie => ((ulong)_generation << 32) | _index;

    /// <summary>Bytes that follow its request's header.</summary>
    internal ulong Payload => Command == NbdCommand.Write ? Length : 0;

    /// <summary>Whether its request is one of those that are made one at a time: it changes a part of a block.</summary>
    internal bool NeedsTurn => _bounce is not null && _calls.Call is BlockCall.Write or BlockCall.WriteZeroes;

    /// <summary>Begins an operation.</summary>
    internal void Begin(NbdBlockEngine engine, BlockOperation operation)
    {
        Engine = engine;
        LostAt = 0;
        IsSent = _wasAsked = false;
        _calls.Begin(operation);
        Continue();
    }

    /// <summary>Its request was answered, all of it.</summary>
    internal void Answered()
    {
        Channel = null;
        if (Error != 0)
        {
            _isFilling = false;
            _calls.Ended(-(long)NbdProtocol.ErrorOf(Error));
        }
        else if (_isFilling)
        {
            _isFilling = false;
            Bounced(toGuest: false);
            Command = NbdCommand.Write;
            _link.Send(this);
            return;
        }
        else
        {
            if (_bounce is not null && Command == NbdCommand.Read) Bounced(toGuest: true);
            _calls.Ended((long)(_bounce is null ? Length : PieceLength));
        }
        Continue();
    }

    /// <summary>Its request goes to a connection, for the first time or again: replies to an earlier one are not for it.</summary>
    internal void BeginRequest(NbdChannel channel)
    {
        Channel = channel;
        _wasAsked |= IsSent;
        IsSent = false;
        (Error, Received) = (0, 0);
        _generation++;
    }

    /// <summary>The server was away for too long, or is not waited for.</summary>
    /// <param name="hasDriver">Whether there is a driver that learns of it. The next one's flush is this one, sent again.</param>
    internal void GiveUp(bool hasDriver)
    {
        Channel = null;
        End(Errno.TimedOut, isAsked: hasDriver && (IsSent || _wasAsked));
    }

    /// <summary>Writes the header of its request.</summary>
    /// <returns>Its length.</returns>
    internal int WriteHeader(Span<byte> header, NbdExport export)
    {
        bool isExtended = export.Replies == NbdReplies.Extended;
        ushort flags = 0;
        if (Command == NbdCommand.Write && isExtended) flags |= NbdProtocol.CommandPayloadLength;
        if (Command == NbdCommand.Write && _calls.Operation!.IsDurable && export.Can(NbdFlags.SendFua)) flags |= NbdProtocol.CommandFua;
        if (Command == NbdCommand.WriteZeroes && (_calls.Mode & FallocateMode.ZeroRange) != 0) flags |= NbdProtocol.CommandNoHole;
        BinaryPrimitives.WriteUInt32BigEndian(header, isExtended ? NbdProtocol.ExtendedRequestMagic : NbdProtocol.RequestMagic);
        BinaryPrimitives.WriteUInt16BigEndian(header[4..], flags);
        BinaryPrimitives.WriteUInt16BigEndian(header[6..], (ushort)Command);
        BinaryPrimitives.WriteUInt64BigEndian(header[8..], Cookie);
        BinaryPrimitives.WriteUInt64BigEndian(header[16..], Offset);
        if (isExtended) BinaryPrimitives.WriteUInt64BigEndian(header[24..], Length);
        else BinaryPrimitives.WriteUInt32BigEndian(header[24..], (uint)Length);
        return export.RequestLength;
    }

    /// <summary>Describes its payload, or room for a part of what it reads.</summary>
    /// <param name="offset">From where on, in the request.</param>
    /// <param name="length">How many bytes.</param>
    /// <param name="vectors">Filled from the start.</param>
    /// <param name="described">As many bytes as had room.</param>
    /// <returns>Vectors filled.</returns>
    internal int Describe(ulong offset, ulong length, Span<IoVector> vectors, out ulong described)
    {
        described = 0;
        if (_bounce is { } bounce)
        {
            described = length;
            vectors[0] = bounce.Piece((int)offset, (int)length);
            return 1;
        }
        if (_calls.Call == BlockCall.WriteZeroes)
        {
            int count = 0;
            for (; described < length && count < vectors.Length; count++)
            {
                vectors[count] = IoVector.Over(BlockZeroes.Some(length - described));
                described += vectors[count].Length;
            }
            return count;
        }
        return _at.Describe(_calls.Operation!.Vectors, offset, length, vectors, out described);
    }

    /// <summary>Stores bytes that were read.</summary>
    /// <param name="offset">Where, in the request; the caller has checked that they lie inside.</param>
    /// <param name="bytes">The bytes; empty for zeroes.</param>
    /// <param name="length">How many.</param>
    internal void Store(ulong offset, ReadOnlySpan<byte> bytes, ulong length)
    {
        if (_bounce is { } bounce)
        {
            Span<byte> place = bounce.AsSpan((int)offset, (int)length);
            if (bytes.IsEmpty) place.Clear(); else bytes.CopyTo(place);
            return;
        }
        _at.Store(_calls.Operation!.Vectors, offset, bytes, length);
    }

    /// <summary>Bytes of the operation that its request carries out, where that is of whole blocks of the server.</summary>
    private ulong PieceLength => Math.Min(_calls.Call == BlockCall.WriteZeroes ? _calls.Length : _calls.Operation!.Remaining,
        (ulong)_bounceLength - (PieceOffset - Offset));

    private ulong PieceOffset => _calls.Call == BlockCall.WriteZeroes ? _calls.Offset : _calls.Operation!.Offset;

    private void Continue()
    {
        while (!TrySend())
        {
        }
    }

    /// <returns>False if the call is over without the server.</returns>
    private bool TrySend()
    {
        BlockOperation operation = _calls.Operation!;
        NbdExport export = _link.Export;
        switch (_calls.Call)
        {
            case BlockCall.None:
                End(_calls.Error);
                return true;
            case BlockCall.Read or BlockCall.Write:
                Plan(_calls.Call == BlockCall.Read ? NbdCommand.Read : NbdCommand.Write, operation.Offset, operation.Remaining, export);
                break;
            case BlockCall.WriteZeroes:
                Plan(NbdCommand.Write, _calls.Offset, Math.Min(_calls.Length, BlockCalls.ZeroesMax), export);
                break;
            case BlockCall.Sync when !export.Can(NbdFlags.SendFlush):
                // A server without it keeps nothing back (NBD protocol, "Ordering of messages and writes").
                _calls.Ended(0);
                return false;
            case BlockCall.Sync:
                (Command, Offset, Length) = (NbdCommand.Flush, 0, 0);
                break;
            default:
                bool discards = operation.Kind == BlockOperationKind.Discard;
                if (!export.Can(discards ? NbdFlags.SendTrim : NbdFlags.SendWriteZeroes))
                {
                    _calls.Ended(-(long)Errno.NotSupported);
                    return false;
                }
                (Command, Offset, Length) = (discards ? NbdCommand.Trim : NbdCommand.WriteZeroes, _calls.Offset, _calls.Length);
                break;
        }
        if (Command is not (NbdCommand.Read or NbdCommand.Write)) _bounce = null;
        _at = default;
        _link.Send(this);
        return true;
    }

    private void Plan(NbdCommand command, ulong offset, ulong length, NbdExport export)
    {
        Command = command;
        ulong mask = export.BlockMin - 1;
        length = Math.Min(length, export.PayloadMax);
        if (((offset | length) & mask) == 0)
        {
            (Offset, Length, _bounce) = (offset, length, null);
            return;
        }
        // The server takes whole blocks only: those around the request are read, and written if the request changes them.
        Offset = offset & ~mask;
        ulong end = Math.Min((offset + length + mask) & ~mask, Offset + Math.Min(BounceBytes, export.PayloadMax));
        Length = end - Offset;
        _bounceLength = (int)Length;
        if (_bounce is null || _bounce.Length < _bounceLength) _bounce = new PinnedBytes(_bounceLength);
        if (command != NbdCommand.Write) return;
        _isFilling = true;
        Command = NbdCommand.Read;
    }

    /// <summary>Copies between the blocks around a request and the guest's buffers.</summary>
    private void Bounced(bool toGuest)
    {
        Span<byte> part = _bounce!.AsSpan((int)(PieceOffset - Offset), (int)PieceLength);
        if (_calls.Call == BlockCall.WriteZeroes) part.Clear();
        else if (toGuest) _at.Store(_calls.Operation!.Vectors, 0, part, (ulong)part.Length);
        else _at.Load(_calls.Operation!.Vectors, part);
    }

    private void End(Errno error, bool isAsked = true)
    {
        NbdBlockEngine engine = Engine!;
        BlockOperation operation = _calls.Operation!;
        Debug.Assert(Channel is null, "a connection has a request of an operation that is over");
        _calls.Release();
        Engine = null;
        _bounce = null;
        _isFilling = false;
        _link.Release(this);
        engine.Ended();
        if (isAsked) operation.Complete(error);
        else operation.Refuse(error);
    }
}
