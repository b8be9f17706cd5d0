using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>Frames from a socket of datagrams, one each.</summary>
internal sealed class DatagramSource(OwnedFd peer, IReactor reactor, Action onReady) : INetSource
{
    private readonly ReadableWatch _watch = new(peer, reactor, onReady);

    public bool IsReady => _watch.IsReady;

    public Errno Receive(ReadOnlySpan<IoVector> vectors, out int length)
    {
        Errno errno = VectorCalls.Receive(peer.Number, vectors, out length);
        if (errno == Errno.Interrupted) errno = VectorCalls.Receive(peer.Number, vectors, out length);
        if (errno == Errno.None) return errno;
        // A peer that is gone is found empty, for ever.
        _watch.FoundEmpty();
        return Errno.Again;
    }

    public void Dispose() => _watch.Dispose();
}

/// <summary>Frames to a socket of datagrams, one each.</summary>
internal sealed class DatagramSink(OwnedFd peer, IReactor reactor, Action onReady) : INetSink
{
    private readonly WritableWatch _watch = new(peer, reactor, onReady);

    public Errno Send(ReadOnlySpan<IoVector> vectors)
    {
        Errno errno = VectorCalls.Send(peer.Number, vectors, out _);
        if (errno is Errno.Again or Errno.Interrupted)
        {
            _watch.Await();
            return Errno.Again;
        }
        return errno == Errno.ConnectionRefused ? Errno.BrokenPipe : errno;
    }

    public void Dispose() => _watch.Dispose();
}
