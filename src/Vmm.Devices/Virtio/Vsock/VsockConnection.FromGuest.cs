using Vmm.Events;

namespace Vmm.Devices;

/// <content>
/// From the guest to the host. What the socket does not take waits: chains of some size where they are, so that nothing is copied, the rest
/// in a backlog behind them. Both together are bounded by the credit the guest was given.
/// </content>
internal sealed partial class VsockConnection
{
    /// <summary>Most pieces of guest memory in one call; a packet of more takes several.</summary>
    private const int VectorsMax = 64;

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
    private uint _guestShutdown;
    private uint _guestShutdownDone;
    private bool _isBlocked;

    /// <summary>Whether something waits for the host side that can go out as soon as there is room.</summary>
    private bool HasPending => _kept.Count > 0 || (Type == VsockType.Stream ? _backlog.Count > 0 : _messages.Count > 0);

    /// <summary>Whether small packets of this turn wait for each other in the backlog, to go out by one call.</summary>
    internal bool IsGathering { get; private set; }

    /// <summary>Whether a packet is not worth a call of its own.</summary>
    internal static bool IsSmall(in VsockHeader header) => header.Length < KeptBytesMin;

    /// <summary>Takes a packet's payload.</summary>
    /// <returns>Whether the chain is kept until the host side has taken it.</returns>
    internal bool TakeData(in VsockHeader header, ChainReader payload, DescriptorChain chain)
    {
        if (State != VsockState.Open || Socket is null || (_guestShutdown & VsockProtocol.SendsNoMore) != 0)
        {
            Reset();
            return false;
        }
        // It was in flight when the guest got the reset.
        if ((_hostShutdown & VsockProtocol.ReceivesNoMore) != 0) return false;
        if (header.Length > (uint)Granted - (_received - _forwarded))
        {
            device.CountFault(VsockDevice.Overrun);
            Reset();
            return false;
        }
        _received += header.Length;
        if (Type == VsockType.SeqPacket)
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

    /// <summary>The guest ends one direction or both.</summary>
    internal void TakeShutdown(uint flags)
    {
        _guestShutdown |= flags & VsockProtocol.BothWays;
        if (State == VsockState.Open) FinishShutdown();
        else Reset();
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
            whole.Append(ref reader, (int)(kept.Length - _keptSent), Granted);
            _keptSent = 0;
            device.GiveChainBack(kept.Chain);
        }
        whole.Append(_backlog, Granted);
        _backlog.Clear();
        _backlog = whole;
    }

    private void Gather(ref ChainReader payload, int length)
    {
        _backlog.Append(ref payload, length, Granted);
        if (IsGathering || length == 0) return;
        IsGathering = true;
        device.Gather(this);
    }

    /// <summary>Keeps what the host side did not take of a packet.</summary>
    /// <returns>Whether the chain itself is kept.</returns>
    private bool Keep(DescriptorChain chain, ref ChainReader payload, uint sent, uint left)
    {
        payload.TrySkip(sent);
        if (_backlog.Count == 0 && left >= KeptBytesMin && device.MayKeepChain())
        {
            _kept.Enqueue(new KeptChain(chain, chain.ReadableLength - payload.Remaining, left));
            return true;
        }
        _backlog.Append(ref payload, (int)left, Granted);
        return false;
    }

    /// <summary>Passes on what waits, as far as the host side takes it.</summary>
    private void Flush()
    {
        _isBlocked = false;
        while (!_isBlocked && _kept.TryPeek(out KeptChain kept))
        {
            ChainReader reader = kept.Chain.Readable;
            reader.TrySkip(kept.Offset + _keptSent);
            if (!TrySend(reader, kept.Length - _keptSent, out uint sent)) return;
            _keptSent += sent;
            if (_keptSent < kept.Length) return;
            _keptSent = 0;
            _kept.Dequeue();
            device.GiveChainBack(kept.Chain);
        }
        if (Type == VsockType.SeqPacket ? !TryFlushMessages() : !TryFlushBacklog()) return;
        FinishShutdown();
    }

    private bool TryFlushBacklog()
    {
        while (!_isBlocked && _backlog.Count > 0)
        {
            (ReadOnlyMemory<byte> first, ReadOnlyMemory<byte> second) = _backlog.Parts(_backlog.Count);
            if (!Went(Socket!.SendParts(first.Span, second.Span, out uint sent))) return false;
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
        while (sent < length && !_isBlocked)
        {
            int count = reader.FillVectors(vectors, sent, length - sent, out _);
            if (!Went(Socket!.Send(vectors[..count], out uint now))) return false;
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
            HostReceivesNoMore();
            return false;
        }
        if (errno != Errno.Again)
        {
            Reset();
            return false;
        }
        _isBlocked = true;
        _watch!.AwaitRoom(device.Reactor);
        return true;
    }

    /// <summary>
    /// The host side took bytes. The guest gets a credit update when that is much of its credit: rarely, and before it has to stop.
    /// </summary>
    private void Forwarded(uint bytes)
    {
        _forwarded += bytes;
        if (_forwarded - _reported >= (uint)Granted / 2) SendLater(PendingPackets.CreditUpdate);
    }

    /// <summary>Does what the guest's SHUTDOWN asks for, once everything before it went out.</summary>
    private void FinishShutdown()
    {
        uint todo = _guestShutdown & ~_guestShutdownDone;
        if (todo == 0 || HasPending) return;
        _guestShutdownDone = _guestShutdown;
        if (_guestShutdown == VsockProtocol.BothWays)
        {
            // A clean end is answered by RST (§ 5.10.6.5).
            Reset();
            return;
        }
        Socket?.Shutdown(sending: (todo & VsockProtocol.SendsNoMore) != 0);
    }

    private void DropPending()
    {
        while (_kept.TryDequeue(out KeptChain kept)) device.GiveChainBack(kept.Chain);
        _keptSent = 0;
        IsGathering = false;
        _backlog.Clear();
        _messages.Clear();
    }

    private void ClearFromGuest()
    {
        (_received, _forwarded, _reported, _guestShutdown, _guestShutdownDone, _assembled) = (0, 0, 0, 0, 0, 0);
        _isBlocked = IsGathering = false;
    }

    /// <summary>A chain that waits: where its payload starts, and how much there is.</summary>
    private readonly record struct KeptChain(DescriptorChain Chain, ulong Offset, uint Length);
}
