using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>Frames from a descriptor that gives one at each read: a socket of datagrams, or a queue of a TAP interface.</summary>
internal sealed class FrameSource : INetSource
{
    private readonly FollowedEnd<ReadableWatch> _end;
    private readonly RetryTimer? _reopen;

    /// <param name="end">The end of the cable.</param>
    /// <param name="reactor">Call on its thread.</param>
    /// <param name="onReady">Called when <see cref="IsReady"/> has become true.</param>
    /// <param name="reopen">Opens a TAP interface again that was deleted, and says whether it did; null for a socket.</param>
    internal FrameSource(NetEnd end, IReactor reactor, Action onReady, Func<bool>? reopen = null)
    {
        _end = new FollowedEnd<ReadableWatch>(end, fd => new ReadableWatch(fd, reactor, onReady));
        if (reopen is not null) _reopen = new RetryTimer(reactor, "a TAP interface", () => reopen() && Reopened());
        _end.Follow();
        if (_end.Fd is null) _reopen?.Await();
    }

    public bool IsReady => _end.Watch is { IsReady: true };

    public Errno Receive(ReadOnlySpan<IoVector> vectors, out int length)
    {
        Errno errno = Read(vectors, out length);
        if (errno == Errno.Interrupted) errno = Read(vectors, out length);
        if (errno == Errno.None) return errno;
        if (errno == Errno.BadDescriptorState && _reopen is not null)
        {
            _end.Lose();
            _reopen.Await();
            return errno;
        }
        _end.Watch!.FoundEmpty();
        // A peer of a socket that is gone is found empty, for ever.
        return _reopen is null ? Errno.Again : errno;
    }

    public void Dispose()
    {
        _reopen?.Cancel();
        _end.Dispose();
    }

    private Errno Read(ReadOnlySpan<IoVector> vectors, out int length) => _reopen is null
        ? VectorCalls.Receive(_end.Fd!.Number, vectors, out length)
        : VectorCalls.Read(_end.Fd!.Number, vectors, out length);

    private bool Reopened()
    {
        _reopen!.Succeeded();
        _end.Follow();
        return true;
    }
}

/// <summary>Frames to a descriptor that takes one with each write.</summary>
internal sealed class FrameSink(NetEnd end, IReactor reactor, Action onReady, bool isSocket) : INetSink
{
    private readonly FollowedEnd<WritableWatch> _end = new(end, fd => new WritableWatch(fd, reactor, onReady));

    public Errno Send(ReadOnlySpan<IoVector> vectors)
    {
        _end.Follow();
        if (_end.Fd is not { } fd) return Errno.BrokenPipe;
        Errno errno = isSocket ? VectorCalls.Send(fd.Number, vectors, out _) : VectorCalls.Write(fd.Number, vectors, out _);
        if (errno is Errno.Again or Errno.Interrupted)
        {
            _end.Watch!.Await();
            return Errno.Again;
        }
        // The source finds out too that an interface is gone, and looks for the next.
        return errno is Errno.ConnectionRefused or Errno.BadDescriptorState ? Errno.BrokenPipe : errno;
    }

    public void Dispose() => _end.Dispose();
}
