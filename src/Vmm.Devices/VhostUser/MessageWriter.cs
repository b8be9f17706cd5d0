using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices.VhostUser;

/// <summary>
/// Sends one message at a time. What the peer does not take yet stays here; its owner reads no further request until that is out, so a peer
/// that does not read its replies gets no more of them and costs the memory of one.
/// </summary>
internal sealed class MessageWriter : IDisposable
{
    private readonly byte[] _buffer = new byte[VhostUserHeader.Bytes + MessageShape.PayloadLimit];
    private int _sent;
    private int _length;
    private OwnedFd? _fd;

    /// <summary>Whether a part of the message is still here.</summary>
    internal bool IsPending => _sent < _length;

    /// <summary>Puts a message in. The one before is out.</summary>
    /// <param name="header">Its header, which holds the size of the payload.</param>
    /// <param name="fd">A descriptor to go with it, of which this object becomes the owner; null for none.</param>
    /// <returns>Where the payload goes, zeroed.</returns>
    internal Span<byte> Begin(VhostUserHeader header, OwnedFd? fd = null)
    {
        if (IsPending) throw new InvalidOperationException("the message before is not out yet");
        header.Write(_buffer);
        _sent = 0;
        _length = VhostUserHeader.Bytes + header.PayloadBytes;
        _fd = fd;
        Span<byte> payload = _buffer.AsSpan(VhostUserHeader.Bytes, header.PayloadBytes);
        payload.Clear();
        return payload;
    }

    /// <summary>Sends what the peer takes.</summary>
    /// <returns>False if the peer is gone.</returns>
    internal bool Flush(UnixSocket socket)
    {
        while (IsPending)
        {
            int sent = _fd is null
                ? socket.Send(_buffer.AsSpan(_sent, _length - _sent), [], out Errno errno)
                : socket.Send(_buffer.AsSpan(_sent, _length - _sent), [_fd.Number], out errno);
            if (errno == Errno.Again) return true;
            if (errno != Errno.None) return false;
            _sent += sent;
            // It went with the first byte.
            DropFd();
        }
        return true;
    }

    public void Dispose() => DropFd();

    private void DropFd()
    {
        _fd?.Dispose();
        _fd = null;
    }
}
