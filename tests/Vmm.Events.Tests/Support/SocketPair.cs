namespace Vmm.Events.Tests.Support;

/// <summary>Two connected sockets, of streams unless said otherwise: one is watched, the other is the peer.</summary>
internal sealed unsafe class SocketPair : IDisposable
{
    internal const int Datagrams = 2;

    private const int Unix = 1;
    private const int Stream = 1;
    private const int ShutWrite = 1;
    private const int OutOfBand = 1;

    internal SocketPair(int type = Stream)
    {
        int* ends = stackalloc int[2];
        Assert.Equal(0, Posix.SocketPair(Unix, type | Posix.NonBlocking | Posix.CloseOnExec, 0, ends));
        Watched = new OwnedFd(ends[0]);
        Peer = new OwnedFd(ends[1]);
    }

    internal OwnedFd Watched { get; }

    internal OwnedFd Peer { get; }

    internal void PeerSends() => Send(0);

    internal void PeerSendsOutOfBand() => Send(OutOfBand);

    internal void PeerShutsDownWriting() => Assert.Equal(0, Posix.ShutDown(Peer.Number, ShutWrite));

    public void Dispose()
    {
        Watched.Dispose();
        Peer.Dispose();
    }

    private void Send(int flags)
    {
        byte one = 1;
        Assert.Equal(1, Posix.Send(Peer.Number, &one, 1, flags));
    }
}
