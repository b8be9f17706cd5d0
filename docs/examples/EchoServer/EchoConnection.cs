using System.Net.Sockets;
using Vmm.Events;

namespace Vmm.Examples.EchoServer;

/// <summary>
/// One peer of the echo server. It reads only when no bytes for the peer are pending: a peer that does not take its bytes back fills one
/// buffer here and then its own.
/// </summary>
public sealed class EchoConnection : Subscriber
{
    public const int BufferBytes = 16 * 1024;

    private readonly byte[] _buffer = new byte[BufferBytes];
    private readonly Action<IReactor> _left;
    private int _owedFrom;
    private int _owedTo;
    private bool _peerIsDone;

    public EchoConnection(SocketFd peer, Action<IReactor> left) : base("echo connection")
    {
        _left = left;
        Source = Interest.Readable.WithFd(peer).WithHandler(OnReady).OwnedBy(this);
    }

    public Subscription<SocketFd> Source { get; }

    private bool OwesNothing => _owedFrom == _owedTo;

    /// <summary>There are bytes to read, or room for those that are pending.</summary>
    public void OnReady(SocketFd peer, IReactor reactor)
    {
        if (!TryRead(peer) || !TrySend(peer) || (_peerIsDone && OwesNothing))
        {
            Leave(reactor);
            return;
        }
        Interest wanted = OwesNothing ? Interest.Readable : Interest.Writable;
        if (Source.Interest != wanted) reactor.Modify(Source, wanted);
    }

    /// <returns>False if the peer is gone.</returns>
    private bool TryRead(SocketFd peer)
    {
        if (!OwesNothing || _peerIsDone) return true;
        SocketError error = peer.Receive(_buffer, out int received);
        if (error == SocketError.WouldBlock) return true;
        // The peer shut its half down: what it sent before is still pending.
        _peerIsDone = received == 0;
        (_owedFrom, _owedTo) = (0, received);
        return error == SocketError.Success;
    }

    /// <returns>False if the peer is gone.</returns>
    private bool TrySend(SocketFd peer)
    {
        if (OwesNothing) return true;
        SocketError error = peer.Send(_buffer.AsSpan(_owedFrom.._owedTo), out int sent);
        _owedFrom += sent;
        return error is SocketError.Success or SocketError.WouldBlock;
    }

    private void Leave(IReactor reactor)
    {
        // The handler runs on; the socket closes when it returns.
        reactor.Remove(Source);
        _left(reactor);
    }
}
