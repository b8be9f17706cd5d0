namespace Vmm.Events;

/// <summary>What a notified handler wants next.</summary>
public enum NotifyAction
{
    /// <summary>No more calls until <see cref="Notifier.Wait"/> is called again.</summary>
    Disarm,
    /// <summary>One more call for the notifications from now on.</summary>
    Rearm,
}

/// <summary>
/// Wakes a loop from any thread, with one descriptor that can also be handed to other processes. One call of the handler for any number of
/// notifications before it; what comes before the first wait is kept. Where both ends are in this process, a <see cref="Doorbell"/> is
/// cheaper.
/// </summary>
public sealed class Notifier : IDisposable
{
    private readonly EventFd _fd = new();
    private IReactor? _reactor;
    private Watch? _watch;

    /// <summary>The descriptor: a write to it notifies.</summary>
    public EventFd Fd => _fd;

    /// <summary>Whether a wait is armed.</summary>
    public bool IsArmed => _watch is { IsArmed: true };

    /// <summary>Has a handler called for the notifications before this and for the next one. On the reactor's thread.</summary>
    /// <param name="reactor">The loop to wake; the same one for every wait of this notifier.</param>
    /// <param name="handler">Called once for all that was notified; says whether it waits on.</param>
    /// <exception cref="InvalidOperationException">A wait is armed already, or another reactor was waited on before.</exception>
    /// <exception cref="ObjectDisposedException">The loop, or the notifier, is gone.</exception>
    public void Wait(IReactor reactor, Func<IReactor, NotifyAction> handler)
    {
        ArgumentNullException.ThrowIfNull(reactor);
        ArgumentNullException.ThrowIfNull(handler);
        if (IsArmed) throw new InvalidOperationException("a wait is armed: its handler says when it ends");
        if (_reactor is not null && _reactor != reactor) throw new InvalidOperationException("the notifier is another loop's");
        if (_watch is null)
        {
            Watch first = new(_fd, handler);
            // A wait that is refused here was none: the notifier is as before.
            reactor.Add(first);
            _watch = first;
            _reactor = reactor;
            return;
        }
        ObjectDisposedException.ThrowIf(_fd.IsClosed, this);
        _watch.Arm(reactor, handler);
    }

    /// <summary>
    /// Notifies. Any thread. A counter that is full is a notification that was not handled yet: that counts as delivered.
    /// </summary>
    /// <returns>False if the loop is gone: no handler will run.</returns>
    public bool Notify()
    {
        try
        {
            _fd.Signal();
            return true;
        }
        catch (ObjectDisposedException)
        {
            return false;
        }
    }

    /// <summary>Stops listening and closes the descriptor. On the reactor's thread, if it was ever waited on.</summary>
    public void Dispose()
    {
        if (_watch is { IsRegistered: true } watch) _reactor!.Remove(watch);
        _fd.Dispose();
    }

    /// <summary>Level-triggered: a notification from before the wait is found by it.</summary>
    private sealed class Watch(EventFd fd, Func<IReactor, NotifyAction> handler) : Subscription<EventFd>(fd, Interest.Readable)
    {
        private Func<IReactor, NotifyAction> _handler = handler;

        internal bool IsArmed { get; private set; } = true;

        public override string Name => "notifier";

        protected internal override void Dispatch(Readiness ready, IReactor reactor)
        {
            // Taken before the handler looks: what comes while it runs is one more notification.
            if (!Fd.TryRead(out _)) return;
            if (_handler(reactor) == NotifyAction.Rearm || !IsRegistered) return;
            IsArmed = false;
            reactor.Modify(this, Interest.None);
        }

        internal void Arm(IReactor reactor, Func<IReactor, NotifyAction> handler)
        {
            reactor.Modify(this, Interest.Readable);
            _handler = handler;
            IsArmed = true;
        }
    }
}
