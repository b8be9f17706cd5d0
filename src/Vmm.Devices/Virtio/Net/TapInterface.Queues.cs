using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

// What reads and writes the queues of an interface, and what follows them when the interface is deleted and made again.
public sealed partial class TapInterface
{
    /// <summary>Opens a queue again whose interface was deleted.</summary>
    /// <returns>False if there is no such interface yet. It is not made: the program that deleted it is about to make it again.</returns>
    private bool TryReopen(int pair)
    {
        if (!TunCalls.Exists(Name)) return false;
        OwnedFd queue;
        try
        {
            queue = OpenQueue(Name, _queues.Length);
        }
        catch (NetworkException)
        {
            return false;
        }
        lock (_lock)
        {
            if (_headerLength > 0) _ = Configure(queue);
            _ = TunCalls.SetLink(queue.Number, _isLinkUp);
            if (!_active[pair]) _ = TunCalls.SetActive(queue.Number, false);
            _queues[pair].Change(queue);
        }
        return true;
    }

    private sealed class Source : INetSource
    {
        private readonly TapInterface _tap;
        private readonly int _pair;
        private readonly IReactor _reactor;
        private readonly Action _onReady;
        private readonly RetryTimer _reopen;
        private OwnedFd? _known;
        private OwnedFd? _queue;
        private ReadableWatch? _watch;

        internal Source(TapInterface tap, int pair, IReactor reactor, Action onReady)
        {
            _tap = tap;
            _pair = pair;
            _reactor = reactor;
            _onReady = onReady;
            _reopen = new RetryTimer(reactor, tap.Description, TryReopen);
            Follow();
            if (_queue is null) _reopen.Await();
        }

        public bool IsReady => _watch is { IsReady: true };

        public Errno Receive(ReadOnlySpan<IoVector> vectors, out int length)
        {
            Errno errno = VectorCalls.Read(_queue!.Number, vectors, out length);
            if (errno == Errno.Interrupted) errno = VectorCalls.Read(_queue.Number, vectors, out length);
            if (errno == Errno.BadDescriptorState)
            {
                _tap._queues[_pair].Change(null);
                Follow();
                _reopen.Await();
            }
            else if (errno != Errno.None)
            {
                _watch!.FoundEmpty();
            }
            return errno;
        }

        public void Dispose()
        {
            _reopen.Cancel();
            _watch?.Dispose();
            _queue?.Dispose();
        }

        private bool TryReopen()
        {
            if (!_tap.TryReopen(_pair)) return false;
            _reopen.Succeeded();
            Follow();
            return true;
        }

        private void Follow()
        {
            OwnedFd? changed = _tap._queues[_pair].TakeChanged(ref _known);
            if (changed is null && _known is not null) return;
            _watch?.Dispose();
            _queue?.Dispose();
            _queue = changed;
            _watch = changed is null ? null : new ReadableWatch(changed, _reactor, _onReady);
        }
    }

    private sealed class Sink(NetEnd end, IReactor reactor, Action onReady) : INetSink
    {
        private OwnedFd? _known;
        private OwnedFd? _queue;
        private WritableWatch? _watch;

        public Errno Send(ReadOnlySpan<IoVector> vectors)
        {
            Follow();
            if (_queue is null) return Errno.BrokenPipe;
            Errno errno = VectorCalls.Write(_queue.Number, vectors, out _);
            if (errno is Errno.Again or Errno.Interrupted)
            {
                _watch!.Await();
                return Errno.Again;
            }
            // The source finds it out too, and looks for the next.
            return errno == Errno.BadDescriptorState ? Errno.BrokenPipe : errno;
        }

        public void Dispose()
        {
            _watch?.Dispose();
            _queue?.Dispose();
        }

        private void Follow()
        {
            OwnedFd? changed = end.TakeChanged(ref _known);
            if (changed is null && (_known is not null || _queue is null)) return;
            _watch?.Dispose();
            _queue?.Dispose();
            _queue = changed;
            _watch = changed is null ? null : new WritableWatch(changed, reactor, onReady);
        }
    }
}
