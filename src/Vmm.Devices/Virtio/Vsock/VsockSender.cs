using System.Buffers;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>What the guest is to get besides payload: a set, so that it can't grow, whatever either side does.</summary>
[Flags]
internal enum PendingPackets
{
    None = 0,
    Request = 1,
    Response = 2,
    CreditUpdate = 4,
    CreditRequest = 8,
    Shutdown = 16,
    Reset = 32,
}

/// <summary>
/// What a connection sends to the guest. Payload is read when there are buffers and credit for it, straight into them; a message of the
/// host (SEQPACKET) is read whole before its first piece goes out.
/// </summary>
internal sealed class VsockSender(VsockDevice device, VsockConnection connection)
{
    /// <summary>Longest message of the host: what its own kernel lets it send by default is less.</summary>
    private const int MessageBytesMax = 256 * 1024;

    /// <summary>Most payload of one turn of a connection; then the others have theirs.</summary>
    private const uint PayloadPerTurnMax = 128 * 1024;

    private PendingPackets _pending;
    private uint _guestBuffer;
    private uint _guestForwarded;
    private byte[]? _message;
    private int _messageStart;
    private int _messageEnd;

    /// <summary>Whether the host's socket may have something to read.</summary>
    internal bool IsReadable { get; set; }

    /// <summary>Bytes of payload that went to the guest.</summary>
    internal uint Sent { get; private set; }

    /// <summary>Whether the guest knows nothing of the connection yet.</summary>
    internal bool IsUnannounced => (_pending & PendingPackets.Request) != 0;

    /// <summary>Whether there is something for the guest, or might be.</summary>
    internal bool HasForGuest => _pending != PendingPackets.None || CanRead;

    /// <summary>Payload the guest has room for. A guest that claims to have passed on what it never got has none.</summary>
    private uint GuestCredit
    {
        get
        {
            uint onTheWay = Sent - _guestForwarded;
            return onTheWay < _guestBuffer ? _guestBuffer - onTheWay : 0;
        }
    }

    private bool CanRead => connection.State == VsockState.Open && (IsReadable || _message is not null) && GuestCredit > 0
        && connection.GuestReceives;

    /// <summary>Every packet of the guest says how much room it has (§ 5.10.6.3).</summary>
    internal void TakeCredit(in VsockHeader header)
    {
        (_guestBuffer, _guestForwarded) = (header.BufferBytes, header.ForwardedBytes);
        if (CanRead) device.ToGuest.Schedule(connection);
    }

    /// <summary>Gives the guest one thing: a packet of control, or some payload. It has a buffer.</summary>
    /// <returns>Bytes that went, headers included; 0 if there was nothing after all.</returns>
    internal uint Serve(VsockReceiveBuffers buffers, VirtQueue queue)
    {
        if (TrySendControl(PendingPackets.Reset, VsockOperation.Reset, buffers, queue))
        {
            device.Close(connection);
            return VsockHeader.Bytes;
        }
        if (TrySendControl(PendingPackets.Request, VsockOperation.Request, buffers, queue)
            || TrySendControl(PendingPackets.Response, VsockOperation.Response, buffers, queue))
            return VsockHeader.Bytes;
        uint sent = !CanRead ? 0 : connection.Type == VsockType.SeqPacket ? SendMessage(buffers, queue) : SendPayload(buffers, queue);
        if (sent > 0 || connection.State != VsockState.Open) return sent;
        bool said = TrySendControl(PendingPackets.CreditUpdate, VsockOperation.CreditUpdate, buffers, queue)
            || TrySendControl(PendingPackets.CreditRequest, VsockOperation.CreditRequest, buffers, queue)
            || TrySendControl(PendingPackets.Shutdown, VsockOperation.Shutdown, buffers, queue, connection.HostShutdown);
        return said ? VsockHeader.Bytes : 0;
    }

    /// <summary>The header of a packet to the guest. Each carries the guest's credit.</summary>
    internal VsockHeader Header(VsockOperation operation, uint length, uint flags = 0)
    {
        _pending &= ~PendingPackets.CreditUpdate;
        return new VsockHeader
        {
            SourceCid = VsockProtocol.HostCid,
            DestinationCid = device.GuestCid,
            SourcePort = connection.HostPort,
            DestinationPort = connection.GuestPort,
            Length = length,
            Type = connection.Type,
            Operation = operation,
            Flags = flags,
            BufferBytes = (uint)connection.Granted,
            ForwardedBytes = connection.Receiver.Report(),
        };
    }

    internal void SendLater(PendingPackets what)
    {
        _pending |= what;
        device.ToGuest.Schedule(connection);
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
        Span<IoVector> vectors = stackalloc IoVector[VsockReceiver.VectorsMax];
        int count = buffers.Describe(queue, Math.Min(GuestCredit, PayloadPerTurnMax), vectors);
        Errno errno = connection.Socket!.Receive(vectors[..count], out uint received);
        if (!CameFromHost(errno)) return 0;
        if (received == 0)
        {
            connection.HostEnded();
            return 0;
        }
        CountSent(received);
        buffers.Deliver(queue, this, received);
        return VsockHeader.Bytes + received;
    }

    private void CountSent(uint bytes)
    {
        Sent += bytes;
        // The guest may say by itself how much room it has again; it has to when it is asked.
        if (GuestCredit == 0) _pending |= PendingPackets.CreditRequest;
    }

    /// <summary>Looks at the end of a receive.</summary>
    /// <returns>False if nothing came.</returns>
    private bool CameFromHost(Errno errno)
    {
        if (errno == Errno.None) return true;
        if (errno == Errno.Again) IsReadable = false;
        else connection.Reset();
        return false;
    }

    /// <summary>Gives the guest the next piece of a message.</summary>
    /// <returns>Bytes that went, the header's included; 0 if there is no message.</returns>
    private uint SendMessage(VsockReceiveBuffers buffers, VirtQueue queue)
    {
        if (_message is null && !TryReadMessage()) return 0;
        int left = _messageEnd - _messageStart;
        uint given = buffers.Fill(_message.AsSpan(_messageStart, (int)Math.Min((uint)left, GuestCredit)));
        _messageStart += (int)given;
        bool ends = _messageStart == _messageEnd;
        CountSent(given);
        buffers.Send(queue, Header(VsockOperation.Data, given, ends ? VsockProtocol.EndOfMessage : 0), given);
        if (ends) DropMessage();
        return VsockHeader.Bytes + given;
    }

    private bool TryReadMessage()
    {
        UnixSocket socket = connection.Socket!;
        Errno errno = socket.PeekLength(out uint length);
        if (errno == Errno.None && length == 0 && socket.Ends().PeerEnded)
        {
            connection.HostEnded();
            return false;
        }
        if (errno == Errno.None && (length > MessageBytesMax || length > _guestBuffer))
        {
            device.ReportHost(Errno.NoMemory, "cannot pass on a message that is longer than the guest's buffer");
            connection.Reset();
            return false;
        }
        if (errno == Errno.None)
        {
            _message = ArrayPool<byte>.Shared.Rent((int)Math.Max(length, 1));
            errno = socket.Receive(_message.AsSpan(0, (int)length), out length);
            (_messageStart, _messageEnd) = (0, (int)length);
        }
        return CameFromHost(errno);
    }

    private void DropMessage()
    {
        if (_message is not null) ArrayPool<byte>.Shared.Return(_message);
        _message = null;
        _messageStart = _messageEnd = 0;
    }

    internal void Clear()
    {
        (_pending, _guestBuffer, _guestForwarded, Sent) = (PendingPackets.None, 0, 0, 0);
        IsReadable = false;
        DropMessage();
    }
}
