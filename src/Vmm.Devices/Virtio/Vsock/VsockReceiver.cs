using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// What a connection receives from the guest for the host. What the socket does not take waits: chains of some size where they are, so that
/// nothing is copied, the rest in a backlog behind them. Both together are bounded by the credit the guest was given. A message (SEQPACKET)
/// that comes in one packet goes straight through; others are put together in the backlog.
/// </summary>
internal sealed class VsockReceiver(VsockDevice device, VsockConnection connection)
{
    /// <summary>Most pieces of guest memory in one call; a packet of more takes several.</summary>
    internal const int VectorsMax = 64;

    /// <summary>Most messages that wait for the host side: empty ones cost no credit.</summary>
    private const int MessagesMax = 1024;

    /// <summary>
    /// Least bytes for which a chain of the guest is kept, or sent by itself, instead of copied: a call costs as much as copying some KiB.
    /// </summary>
    private const uint KeptBytesMin = 8192;

    private readonly Queue<KeptChain> _kept = new();
    private VsockBacklog _backlog = new();
    /// <summary>Bytes of the first kept chain that the host side has taken.</summary>
    private uint _keptSent;
    private uint _received;
    private uint _forwarded;
    private uint _reported;
    /// <summary>Lengths of the messages at the start of the backlog that are complete.</summary>
    private readonly Queue<int> _messages = new();
    /// <summary>Bytes of the guest's message that is not complete yet, at the end of the backlog.</summary>
    private int _assembled;

    /// <summary>Whether the host side takes nothing until its socket has room.</summary>
    internal bool IsBlocked { get; private set; }

    /// <summary>Whether something waits for the host side that can go out as soon as there is room.</summary>
    internal bool HasPending => _kept.Count > 0 || (connection.Type == VsockType.Stream ? _backlog.Count > 0 : _messages.Count > 0);

    /// <summary>Whether small packets of this turn wait for each other in the backlog, to go out by one call.</summary>
    internal bool IsGathering { get; private set; }

    /// <summary>Whether a packet is not worth a call of its own.</summary>
    internal static bool IsSmall(in VsockHeader header) => header.Length < KeptBytesMin;

    /// <summary>Takes a packet's payload.</summary>
    /// <returns>Whether the chain is kept until the host side has taken it.</returns>
    internal bool Take(in VsockHeader header, ChainReader payload, DescriptorChain chain)
    {
        if (header.Length > (uint)connection.Granted - (_received - _forwarded))
        {
            device.CountFault(VsockTransmitQueue.Overrun);
            connection.Reset();
            return false;
        }
        _received += header.Length;
        if (connection.Type == VsockType.SeqPacket)
        {
            TakeMessage(header, payload, chain.ReadableSegments);
            return false;
        }
        if (IsSmall(header) && (IsGathering || !HasPending))
        {
            Gather(ref payload, (int)header.Length);
            return false;
        }
        uint sent = 0;
        if (!HasPending && !TrySend(payload, header.Length, out sent)) return false;
        return sent < header.Length && Keep(chain, ref payload, sent, header.Length - sent);
    }

    /// <summary>Sends the small packets that were gathered.</summary>
    internal void EndGathering()
    {
        if (!IsGathering) return;
        IsGathering = false;
        Flush();
    }

    /// <summary>The guest's queue stops: the chains it has not been given back move to the front of the backlog.</summary>
    internal void GiveChainsBack()
    {
        if (_kept.Count == 0) return;
        VsockBacklog whole = new();
        while (_kept.TryDequeue(out KeptChain kept))
        {
            ChainReader reader = kept.Chain.Readable;
            reader.TrySkip(kept.Offset + _keptSent);
            whole.Append(ref reader, (int)(kept.Length - _keptSent), connection.Granted);
            _keptSent = 0;
            device.FromGuest.GiveChainBack(kept.Chain);
        }
        whole.Append(_backlog, connection.Granted);
        _backlog.Clear();
        _backlog = whole;
    }

    private void Gather(ref ChainReader payload, int length)
    {
        _backlog.Append(ref payload, length, connection.Granted);
        if (IsGathering || length == 0) return;
        IsGathering = true;
        device.FromGuest.Gather(connection);
    }

    /// <summary>Keeps what the host side did not take of a packet.</summary>
    /// <returns>Whether the chain itself is kept.</returns>
    private bool Keep(DescriptorChain chain, ref ChainReader payload, uint sent, uint left)
    {
        payload.TrySkip(sent);
        if (_backlog.Count == 0 && left >= KeptBytesMin && device.FromGuest.MayKeepChain())
        {
            _kept.Enqueue(new KeptChain(chain, chain.ReadableLength - payload.Remaining, left));
            return true;
        }
        _backlog.Append(ref payload, (int)left, connection.Granted);
        return false;
    }

    /// <summary>Passes on what waits, as far as the host side takes it.</summary>
    internal void Flush()
    {
        IsBlocked = false;
        while (!IsBlocked && _kept.TryPeek(out KeptChain kept))
        {
            ChainReader reader = kept.Chain.Readable;
            reader.TrySkip(kept.Offset + _keptSent);
            if (!TrySend(reader, kept.Length - _keptSent, out uint sent)) return;
            _keptSent += sent;
            if (_keptSent < kept.Length) return;
            _keptSent = 0;
            _kept.Dequeue();
            device.FromGuest.GiveChainBack(kept.Chain);
        }
        if (connection.Type == VsockType.SeqPacket ? !TryFlushMessages() : !TryFlushBacklog()) return;
        connection.FinishShutdown();
    }

    private bool TryFlushBacklog()
    {
        while (!IsBlocked && _backlog.Count > 0)
        {
            (ReadOnlyMemory<byte> first, ReadOnlyMemory<byte> second) = _backlog.Parts(_backlog.Count);
            if (!Went(connection.Socket!.SendParts(first.Span, second.Span, out uint sent))) return false;
            _backlog.Skip((int)sent);
            Forwarded(sent);
        }
        return true;
    }

    /// <summary>Sends a part of a chain.</summary>
    /// <param name="reader">At its first byte.</param>
    /// <param name="length">Its length.</param>
    /// <param name="sent">Bytes that went: fewer if the host side takes no more now.</param>
    /// <returns>False if the host side takes nothing any more.</returns>
    private bool TrySend(ChainReader reader, uint length, out uint sent)
    {
        Span<IoVector> vectors = stackalloc IoVector[VectorsMax];
        sent = 0;
        while (sent < length && !IsBlocked)
        {
            int count = reader.FillVectors(vectors, sent, length - sent, out _);
            if (!Went(connection.Socket!.Send(vectors[..count], out uint now))) return false;
            sent += now;
        }
        Forwarded(sent);
        return true;
    }

    /// <summary>Looks at the end of a send.</summary>
    /// <returns>False if the host side takes nothing any more.</returns>
    private bool Went(Errno errno)
    {
        if (errno == Errno.None) return true;
        if (errno == Errno.BrokenPipe)
        {
            connection.HostReceivesNoMore();
            return false;
        }
        if (errno != Errno.Again)
        {
            connection.Reset();
            return false;
        }
        IsBlocked = true;
        connection.AwaitRoom();
        return true;
    }

    /// <summary>
    /// The host side took bytes. The guest gets a credit update when that is much of its credit: rarely, and before it has to stop.
    /// </summary>
    private void Forwarded(uint bytes)
    {
        _forwarded += bytes;
        if (_forwarded - _reported >= (uint)connection.Granted / 2) connection.SendCredit();
    }

    internal void Drop()
    {
        while (_kept.TryDequeue(out KeptChain kept)) device.FromGuest.GiveChainBack(kept.Chain);
        _keptSent = 0;
        IsGathering = false;
        _backlog.Clear();
        _messages.Clear();
    }

    internal void Clear()
    {
        (_received, _forwarded, _reported, _assembled) = (0, 0, 0, 0);
        IsBlocked = IsGathering = false;
    }

    /// <summary>The credit that the guest is given back with the next packet: what was passed on of all it sent.</summary>
    internal uint Report() => _reported = _forwarded;

    /// <summary>
    /// Hands what the guest sent, and the host has not read, to the remainders: the connection ends. A message that the guest did not
    /// complete is none.
    /// </summary>
    internal void Leave(UnixSocket socket) => device.Remainders.Add(device.Reactor, socket,
        _backlog.ToArray(_backlog.Count - _assembled), connection.Type == VsockType.Stream ? null : [.. _messages]);

    private void TakeMessage(in VsockHeader header, ChainReader payload, int segments)
    {
        bool ends = (header.Flags & VsockProtocol.EndOfMessage) != 0;
        if (ends && _assembled == 0 && _messages.Count == 0 && header.Length > 0 && segments <= VectorsMax)
        {
            if (!TrySend(payload, header.Length, out uint sent) || sent > 0) return;
        }
        _backlog.Append(ref payload, (int)header.Length, connection.Granted);
        _assembled += (int)header.Length;
        if (!ends) return;
        if (_messages.Count == MessagesMax)
        {
            device.CountFault(VsockTransmitQueue.Overrun);
            connection.Reset();
            return;
        }
        _messages.Enqueue(_assembled);
        _assembled = 0;
        if (!IsBlocked) TryFlushMessages();
    }

    private bool TryFlushMessages()
    {
        while (_messages.TryPeek(out int length))
        {
            (ReadOnlyMemory<byte> first, ReadOnlyMemory<byte> second) = _backlog.Parts(length);
            if (!Went(connection.Socket!.SendParts(first.Span, second.Span, out _))) return false;
            if (IsBlocked) return true;
            _messages.Dequeue();
            _backlog.Skip(length);
            Forwarded((uint)length);
        }
        return true;
    }

    /// <summary>A chain that waits: where its payload starts, and how much there is.</summary>
    private readonly record struct KeptChain(DescriptorChain Chain, ulong Offset, uint Length);
}
