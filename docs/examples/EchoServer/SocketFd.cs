using System.Net.Sockets;
using Vmm.Events;

namespace Vmm.Examples.EchoServer;

/// <summary>A non-blocking socket that a reactor can own: closing the descriptor disposes the socket.</summary>
public sealed class SocketFd : OwnedFd
{
    private readonly Socket _socket;

    public SocketFd(Socket socket) : base((int)socket.Handle)
    {
        _socket = socket;
        _socket.Blocking = false;
    }

    /// <summary>Takes a peer that waits to be accepted.</summary>
    /// <returns>Null if none waits, or if it went away meanwhile.</returns>
    public SocketFd? TryAccept()
    {
        try
        {
            return _socket.Poll(TimeSpan.Zero, SelectMode.SelectRead) ? new SocketFd(_socket.Accept()) : null;
        }
        catch (SocketException)
        {
            return null;
        }
    }

    /// <summary>Receives what there is. 0 bytes are the end of what the peer sends.</summary>
    public SocketError Receive(Span<byte> destination, out int received)
    {
        received = _socket.Receive(destination, SocketFlags.None, out SocketError error);
        return error;
    }

    /// <summary>Sends as much as there is room for.</summary>
    public SocketError Send(ReadOnlySpan<byte> source, out int sent)
    {
        sent = _socket.Send(source, SocketFlags.None, out SocketError error);
        return error;
    }

    protected override bool ReleaseHandle()
    {
        _socket.Dispose();
        return true;
    }
}
