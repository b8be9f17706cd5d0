using System.Buffers;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <content>
/// Messages (SEQPACKET): the host's socket takes and gives them whole, packets carry them in pieces. A message of the guest that comes in
/// one packet goes straight through; others are put together in the backlog. One of the host is read whole before its first piece goes out.
/// </content>
internal sealed partial class VsockConnection
{
    /// <summary>Most messages that wait for the host side: empty ones cost no credit.</summary>
    private const int MessagesMax = 1024;

    /// <summary>Longest message of the host: what its own kernel lets it send by default is less.</summary>
    private const int MessageBytesMax = 256 * 1024;

    private readonly Queue<int> _messages = new();
    /// <summary>Bytes of the guest's message that is not complete yet, at the end of the backlog.</summary>
    private int _assembled;
    private byte[]? _message;
    private int _messageStart;
    private int _messageEnd;

    private void TakeMessage(in VsockHeader header, ChainReader payload, int segments)
    {
        bool ends = (header.Flags & VsockProtocol.EndOfMessage) != 0;
        if (ends && _assembled == 0 && _messages.Count == 0 && header.Length > 0 && segments <= VectorsMax)
        {
            if (!TrySend(payload, header.Length, out uint sent) || sent > 0) return;
        }
        _backlog.Append(ref payload, (int)header.Length, Granted);
        _assembled += (int)header.Length;
        if (!ends) return;
        if (_messages.Count == MessagesMax)
        {
            device.CountFault(VsockDevice.Overrun);
            Reset();
            return;
        }
        _messages.Enqueue(_assembled);
        _assembled = 0;
        if (!_isBlocked) TryFlushMessages();
    }

    private bool TryFlushMessages()
    {
        while (_messages.TryPeek(out int length))
        {
            (ReadOnlyMemory<byte> first, ReadOnlyMemory<byte> second) = _backlog.Parts(length);
            if (!Went(Socket!.SendParts(first.Span, second.Span, out _))) return false;
            if (_isBlocked) return true;
            _messages.Dequeue();
            _backlog.Skip(length);
            Forwarded((uint)length);
        }
        return true;
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
        Sent(given);
        buffers.Send(queue, Header(VsockOperation.Data, given, ends ? VsockProtocol.EndOfMessage : 0), given);
        if (ends) DropMessage();
        return VsockHeader.Bytes + given;
    }

    private bool TryReadMessage()
    {
        UnixSocket socket = Socket!;
        Errno errno = socket.PeekLength(out uint length);
        if (errno == Errno.None && length == 0 && socket.Ends().PeerEnded)
        {
            HostEnded();
            return false;
        }
        if (errno == Errno.None && (length > MessageBytesMax || length > _guestBuffer))
        {
            device.ReportHost(Errno.NoMemory, "cannot pass on a message that is longer than the guest's buffer");
            Reset();
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
}
