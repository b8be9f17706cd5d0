using Vmm.Events;

namespace Vmm.Devices;

/// <content>
/// From the host to the guest. What the device has to say besides payload is a set of pending packets: whatever either side does, it can't
/// grow. Payload is read when there are buffers and credit for it, straight into them.
/// </content>
internal sealed partial class VsockConnection
{
    /// <summary>Most payload of one turn of a connection; then the others have theirs.</summary>
    private const uint PayloadPerTurnMax = 128 * 1024;

    /// <summary>How long the guest may take to answer a SHUTDOWN of both directions. A Linux guest waits as long for ours.</summary>
    internal static readonly TimeSpan CloseTimeout = TimeSpan.FromSeconds(8);

    /// <summary>How long the guest may take none of the bytes that a program of the host left for it when it hung up.</summary>
    internal static readonly TimeSpan StallTimeout = TimeSpan.FromMinutes(1);

    private PendingPackets _pending;
    private uint _guestBuffer;
    private uint _guestForwarded;
    private uint _sent;
    private uint _hostShutdown;
    private uint _sentBefore;
    private bool _hostReadable;
    private bool _hostEnded;
    private bool _hostHungUp;

    [Flags]
    private enum PendingPackets
    {
        None = 0,
        Request = 1,
        Response = 2,
        CreditUpdate = 4,
        CreditRequest = 8,
        Shutdown = 16,
        Reset = 32,
    }

    /// <summary>Whether there is something for the guest, or might be.</summary>
    internal bool HasForGuest => _pending != PendingPackets.None || CanRead;

    /// <summary>Payload the guest has room for. A guest that claims to have passed on what it never got has none.</summary>
    private uint GuestCredit
    {
        get
        {
            uint onTheWay = _sent - _guestForwarded;
            return onTheWay < _guestBuffer ? _guestBuffer - onTheWay : 0;
        }
    }

    private bool CanRead => State == VsockState.Open && (_hostReadable || _message is not null) && GuestCredit > 0
        && (_guestShutdown & VsockProtocol.ReceivesNoMore) == 0;

    /// <summary>Every packet of the guest says how much room it has (§ 5.10.6.3).</summary>
    internal void TakeCredit(in VsockHeader header)
    {
        (_guestBuffer, _guestForwarded) = (header.BufferBytes, header.ForwardedBytes);
        if (CanRead) device.Schedule(this);
    }

    /// <summary>The guest asks for its credit.</summary>
    internal void SendCredit() => SendLater(PendingPackets.CreditUpdate);

    /// <summary>Gives the guest one thing: a packet of control, or some payload. It has a buffer.</summary>
    /// <returns>Bytes that went, headers included; 0 if there was nothing after all.</returns>
    internal uint Serve(VsockReceiveBuffers buffers, VirtQueue queue)
    {
        if (TrySendControl(PendingPackets.Reset, VsockOperation.Reset, buffers, queue))
        {
            device.Close(this);
            return VsockHeader.Bytes;
        }
        if (TrySendControl(PendingPackets.Request, VsockOperation.Request, buffers, queue)
            || TrySendControl(PendingPackets.Response, VsockOperation.Response, buffers, queue))
            return VsockHeader.Bytes;
        uint sent = !CanRead ? 0 : Type == VsockType.SeqPacket ? SendMessage(buffers, queue) : SendPayload(buffers, queue);
        if (sent > 0 || State != VsockState.Open) return sent;
        bool said = TrySendControl(PendingPackets.CreditUpdate, VsockOperation.CreditUpdate, buffers, queue)
            || TrySendControl(PendingPackets.CreditRequest, VsockOperation.CreditRequest, buffers, queue)
            || TrySendControl(PendingPackets.Shutdown, VsockOperation.Shutdown, buffers, queue, _hostShutdown);
        return said ? VsockHeader.Bytes : 0;
    }

    /// <summary>The header of a packet to the guest. Each carries the guest's credit.</summary>
    internal VsockHeader Header(VsockOperation operation, uint length, uint flags = 0)
    {
        _reported = _forwarded;
        _pending &= ~PendingPackets.CreditUpdate;
        return new VsockHeader
        {
            SourceCid = VsockProtocol.HostCid,
            DestinationCid = device.GuestCid,
            SourcePort = HostPort,
            DestinationPort = GuestPort,
            Length = length,
            Type = Type,
            Operation = operation,
            Flags = flags,
            BufferBytes = (uint)Granted,
            ForwardedBytes = _forwarded,
        };
    }

    private void SendLater(PendingPackets what)
    {
        _pending |= what;
        device.Schedule(this);
    }

    private bool TrySendControl(PendingPackets what, VsockOperation operation, VsockReceiveBuffers buffers, VirtQueue queue, uint flags = 0)
    {
        if ((_pending & what) == 0) return false;
        _pending &= ~what;
        buffers.Send(queue, Header(operation, 0, flags), 0);
        return true;
    }

    private uint SendPayload(VsockReceiveBuffers buffers, VirtQueue queue)
    {
        Span<IoVector> vectors = stackalloc IoVector[VectorsMax];
        int count = buffers.Describe(queue, Math.Min(GuestCredit, PayloadPerTurnMax), vectors);
        Errno errno = Socket!.Receive(vectors[..count], out uint received);
        if (!CameFromHost(errno)) return 0;
        if (received == 0)
        {
            HostEnded();
            return 0;
        }
        Sent(received);
        buffers.Deliver(queue, this, received);
        return VsockHeader.Bytes + received;
    }

    private void Sent(uint bytes)
    {
        _sent += bytes;
        // The guest may say by itself how much room it has again; it has to when it is asked.
        if (GuestCredit == 0) _pending |= PendingPackets.CreditRequest;
    }

    /// <summary>Looks at the end of a receive.</summary>
    /// <returns>False if nothing came.</returns>
    private bool CameFromHost(Errno errno)
    {
        if (errno == Errno.None) return true;
        if (errno == Errno.Again) _hostReadable = false;
        else Reset();
        return false;
    }

    /// <summary>The host sends no more; if it does not receive any more either, its socket is done with.</summary>
    private void HostEnded()
    {
        _hostEnded = true;
        _hostReadable = false;
        _hostShutdown |= VsockProtocol.SendsNoMore;
        if (Socket!.Ends().HungUp) HostLeft();
        SendLater(PendingPackets.Shutdown);
    }

    /// <summary>The host reads no more: what waits for it is dropped. What it says itself still goes to the guest.</summary>
    private void HostReceivesNoMore()
    {
        _hostShutdown |= VsockProtocol.ReceivesNoMore;
        DropPending();
        SendLater(PendingPackets.Shutdown);
        FinishShutdown();
    }

    private void HostLeft()
    {
        _hostShutdown = VsockProtocol.BothWays;
        DropPending();
        CloseSocket();
        if (_guestShutdown == VsockProtocol.BothWays)
        {
            Reset();
            return;
        }
        SendLater(PendingPackets.Shutdown);
        // A guest that does not answer must not keep the place of a connection that has no host any more.
        Arm(CloseTimeout);
    }

    /// <summary>
    /// The program of the host has closed its socket. Its last bytes may still wait in the socket for credit or buffers of the guest, and
    /// they have as long as the guest takes some of them.
    /// </summary>
    private void HostHungUp()
    {
        if (_hostHungUp || State != VsockState.Open) return;
        _hostHungUp = true;
        _sentBefore = _sent;
        Arm(StallTimeout);
    }

    /// <summary>The time of a connection whose host has hung up is over.</summary>
    /// <returns>Whether it gets as much again: the guest is paused, or it took bytes meanwhile.</returns>
    private bool MayWaitOn()
    {
        if (device.IsReceiving && (Socket is null || _sent == _sentBefore)) return false;
        _sentBefore = _sent;
        Arm(Socket is null ? CloseTimeout : StallTimeout);
        return true;
    }

    private void ClearToGuest()
    {
        (_pending, _guestBuffer, _guestForwarded, _sent, _sentBefore, _hostShutdown) = (PendingPackets.None, 0, 0, 0, 0, 0);
        _hostReadable = _hostEnded = _hostHungUp = false;
        DropMessage();
    }
}
