namespace Vmm.Benchmarks;

/// <summary>The reactor, through its public face: typed handlers, one subscription a descriptor, a turn a call.</summary>
internal sealed class ReactorEngine : IEngine
{
    private readonly Reactor _reactor;
    private long _handled;

    internal ReactorEngine(EventFd[] fds, int fdsPerSubscriber, bool drain, ReactorOptions options)
    {
        _reactor = new Reactor(options);
        Subscriber? owner = null;
        for (int i = 0; i < fds.Length; i++)
        {
            Subscription<EventFd> subscription = drain
                ? Interest.Readable.WithFd(fds[i]).WithHandler(CountAndDrain)
                : Interest.Kick.WithFd(fds[i]).WithHandler(Count);
            if (fdsPerSubscriber > 1)
            {
                if (i % fdsPerSubscriber == 0) owner = new Subscriber("device");
                subscription.OwnedBy(owner!);
            }
            subscription.RegisterInto(_reactor);
        }
    }

    public int Turn() => _reactor.RunOnce(Timeout.InfiniteTimeSpan);

    public void Dispose() => _reactor.Dispose();

    private void CountAndDrain(EventFd fd)
    {
        if (fd.TryRead(out _)) _handled++;
    }

    private void Count(EventFd fd) => _handled++;
}
