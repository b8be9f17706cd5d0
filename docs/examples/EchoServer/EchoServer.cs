using System.Net;
using System.Net.Sockets;
using Vmm.Events;

namespace Vmm.Examples.EchoServer;

/// <summary>Sends back what it is sent.</summary>
public sealed class EchoServer : Subscriber
{
    private const int Backlog = 64;

    private readonly int _connectionsMax;

    /// <param name="address">Where to listen; port 0 takes a free one.</param>
    /// <param name="connectionsMax">A peer beyond that waits in the kernel until another leaves.</param>
    public EchoServer(IPEndPoint address, int connectionsMax = 1000) : base("echo server")
    {
        _connectionsMax = connectionsMax;
        Socket socket = new(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(address);
        socket.Listen(Backlog);
        Address = (IPEndPoint)socket.LocalEndPoint!;
        Listener = Interest.Readable.WithFd(new SocketFd(socket)).WithHandler(OnPeer).OwnedBy(this);
    }

    public IPEndPoint Address { get; }

    public int Connections { get; private set; }

    public Subscription<SocketFd> Listener { get; }

    /// <summary>A peer wants in.</summary>
    public void OnPeer(SocketFd listener, IReactor reactor)
    {
        // One accept an event: level-triggered, the next peer is the next event, and no other peer waits for long.
        if (listener.TryAccept() is not { } peer) return;
        new EchoConnection(peer, OnPeerLeft).Source.RegisterInto(reactor);
        if (++Connections == _connectionsMax) reactor.Modify(Listener, Interest.None);
    }

    private void OnPeerLeft(IReactor reactor)
    {
        if (Connections-- == _connectionsMax && Listener.IsRegistered) reactor.Modify(Listener, Interest.Readable);
    }
}
