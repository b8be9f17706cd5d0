using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices.VhostUser;

/// <summary>How far a <see cref="MessageReader"/> got.</summary>
internal enum ReadProgress
{
    /// <summary>The rest is not there yet.</summary>
    Incomplete,
    /// <summary>A whole message is there.</summary>
    Message,
    /// <summary>The peer is gone, between two messages.</summary>
    Closed,
    /// <summary>The peer broke the framing, or went in the middle of a message: nothing after it can be trusted.</summary>
    Broken,
}

/// <summary>
/// Assembles one message at a time from however many pieces it comes in. Never asks the socket for a byte beyond the message it is at, so
/// the descriptors that come with a message are that message's. Memory is one message of the largest size.
/// </summary>
internal sealed class MessageReader : IDisposable
{
    private readonly byte[] _buffer = new byte[VhostUserHeader.Bytes + MessageShape.PayloadLimit];
    private int _have;
    private int _need = VhostUserHeader.Bytes;

    /// <summary>The header, once <see cref="ReadProgress.Message"/> was returned.</summary>
    internal VhostUserHeader Header { get; private set; }

    /// <summary>The payload, valid until the next read.</summary>
    internal ReadOnlySpan<byte> Payload => _buffer.AsSpan(VhostUserHeader.Bytes, Header.PayloadBytes);

    /// <summary>The descriptors that came with the message.</summary>
    internal ReceivedFds Fds { get; } = new();

    /// <summary>What the peer did, after <see cref="ReadProgress.Broken"/>. A constant sentence.</summary>
    internal string Complaint { get; private set; } = "";

    /// <summary>
    /// Reads on. After a message, closes the descriptors of it that were not taken; those that came before an error go with the reader.
    /// </summary>
    internal ReadProgress Read(UnixSocket socket)
    {
        if (_have == _need) StartNext();
        while (true)
        {
            Reception reception = socket.Receive(_buffer.AsSpan(_have, _need - _have), Fds);
            if (reception.Truncated) return Break("more descriptors than a message can carry, or than this process may open");
            if (reception.Errno == Errno.Again) return ReadProgress.Incomplete;
            if (reception.Errno != Errno.None) return Break("the connection failed");
            if (reception.Bytes == 0) return _have == 0 ? ReadProgress.Closed : Break("the connection ended inside of a message");
            _have += reception.Bytes;
            if (_have < _need) continue;
            if (_need == VhostUserHeader.Bytes)
            {
                Header = VhostUserHeader.Read(_buffer);
                if (!Header.IsSound) return Break("a header with an unknown version or flags");
                if (Header.PayloadBytes > MessageShape.PayloadLimit) return Break("a payload larger than any message has");
                _need += Header.PayloadBytes;
                if (_have < _need) continue;
            }
            return ReadProgress.Message;
        }
    }

    public void Dispose() => Fds.Dispose();

    private void StartNext()
    {
        Fds.Clear();
        _have = 0;
        _need = VhostUserHeader.Bytes;
    }

    private ReadProgress Break(string complaint)
    {
        Complaint = complaint;
        return ReadProgress.Broken;
    }
}
