namespace Vmm.Events;

/// <summary>An interest in a descriptor that still needs its handler.</summary>
/// <typeparam name="TFd">The descriptor's type, which the handler gets back.</typeparam>
public readonly struct InterestInFd<TFd> where TFd : OwnedFd
{
    private readonly Interest _interest;
    private readonly TFd _fd;

    internal InterestInFd(Interest interest, TFd fd)
    {
        ArgumentNullException.ThrowIfNull(fd);
        _interest = interest;
        _fd = fd;
    }

    /// <summary>Adds a handler that needs only its descriptor.</summary>
    public Subscription<TFd> WithHandler(Action<TFd> handler) => Shapes.Of(handler)(_fd, _interest);

    /// <summary>Adds a handler that also adds, modifies or removes subscriptions.</summary>
    public Subscription<TFd> WithHandler(Action<TFd, IReactor> handler) => Shapes.Of(handler)(_fd, _interest);

    /// <summary>Adds a handler that also looks at what is ready.</summary>
    public Subscription<TFd> WithHandler(Action<TFd, Readiness, IReactor> handler) => Shapes.Of(handler)(_fd, _interest);
}

/// <summary>An interest with its handler that still needs a descriptor; one handler can serve many.</summary>
/// <typeparam name="TFd">The descriptor's type, which the handler gets back.</typeparam>
public readonly struct InterestOfHandler<TFd> where TFd : OwnedFd
{
    private readonly Interest _interest;
    private readonly Func<TFd, Interest, Subscription<TFd>> _make;

    internal InterestOfHandler(Interest interest, Func<TFd, Interest, Subscription<TFd>> make)
    {
        _interest = interest;
        _make = make;
    }

    /// <summary>Adds the descriptor.</summary>
    public Subscription<TFd> WithFd(TFd fd) => _make(fd, _interest);
}

/// <summary>Counting subscriptions: the builder for handlers of an eventfd that need its count.</summary>
public static class CountingExtensions
{
    /// <summary>
    /// Adds a handler that gets the eventfd's count, which is read (and so reset) before each call. A count of 0 is not reported.
    /// </summary>
    public static Subscription<EventFd> WithCountingHandler(this InterestInFd<EventFd> interest, Action<EventFd, ulong, IReactor> handler)
    {
        ArgumentNullException.ThrowIfNull(handler);
        return interest.WithHandler((fd, reactor) =>
        {
            if (fd.TryRead(out ulong count)) handler(fd, count, reactor);
        });
    }
}

/// <summary>One sealed class for each shape of handler, so that an event costs one virtual call and one delegate call.</summary>
internal static class Shapes
{
    internal static Func<TFd, Interest, Subscription<TFd>> Of<TFd>(Action<TFd> handler) where TFd : OwnedFd
    {
        ArgumentNullException.ThrowIfNull(handler);
        return (fd, interest) => new FdShape<TFd>(fd, interest, handler);
    }

    internal static Func<TFd, Interest, Subscription<TFd>> Of<TFd>(Action<TFd, IReactor> handler) where TFd : OwnedFd
    {
        ArgumentNullException.ThrowIfNull(handler);
        return (fd, interest) => new FdReactorShape<TFd>(fd, interest, handler);
    }

    internal static Func<TFd, Interest, Subscription<TFd>> Of<TFd>(Action<TFd, Readiness, IReactor> handler) where TFd : OwnedFd
    {
        ArgumentNullException.ThrowIfNull(handler);
        return (fd, interest) => new FdReadinessReactorShape<TFd>(fd, interest, handler);
    }

    private sealed class FdShape<TFd>(TFd fd, Interest interest, Action<TFd> handler) : Subscription<TFd>(fd, interest) where TFd : OwnedFd
    {
        protected internal override void Dispatch(Readiness ready, IReactor reactor) => handler(Fd);
    }

    private sealed class FdReactorShape<TFd>(TFd fd, Interest interest, Action<TFd, IReactor> handler)
        : Subscription<TFd>(fd, interest) where TFd : OwnedFd
    {
        protected internal override void Dispatch(Readiness ready, IReactor reactor) => handler(Fd, reactor);
    }

    private sealed class FdReadinessReactorShape<TFd>(TFd fd, Interest interest, Action<TFd, Readiness, IReactor> handler)
        : Subscription<TFd>(fd, interest) where TFd : OwnedFd
    {
        protected internal override void Dispatch(Readiness ready, IReactor reactor) => handler(Fd, ready, reactor);
    }
}
