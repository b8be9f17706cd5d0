namespace Vmm.Events.Tests.Support;

/// <summary>
/// Base of the tests that hold whatever waits behind the reactor: a suite is abstract, and one sealed class for each poller runs it.
/// xunit makes one object, and so one reactor, for each test.
/// </summary>
public abstract class ReactorSuite : IDisposable
{
    /// <summary>Far beyond what a loaded machine needs: who waits so long has lost a wake-up.</summary>
    internal static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    private Reactor? _reactor;

    protected List<HandlerFailure> Failures { get; } = [];

    /// <summary>The reactor under test, made at its first use.</summary>
    protected Reactor Reactor => _reactor ??= NewReactor();

    /// <summary>How a reactor of this suite waits.</summary>
    protected virtual PollerKind Poller => PollerKind.Epoll;

    protected virtual ReactorOptions Options => new() { Name = "test", OnHandlerFailure = Failures.Add, Poller = Poller };

    protected Reactor NewReactor(Func<ReactorOptions, ReactorOptions>? change = null) => new(change is null ? Options : change(Options));

    /// <summary>Replaces the reactor under test by one with other options.</summary>
    protected void Configure(Func<ReactorOptions, ReactorOptions> change) => _reactor = NewReactor(change);

    /// <summary>One batch of what is ready now.</summary>
    protected int Turn() => Reactor.RunOnce(TimeSpan.Zero);

    /// <summary>Watches an eventfd that is readable already.</summary>
    protected Subscription<EventFd> WatchRaised(Action<EventFd, IReactor> handler, Interest? interest = null) =>
        (interest ?? Interest.Readable).WithFd(new EventFd(initial: 1)).WithHandler(handler).RegisterInto(Reactor);

    public virtual void Dispose()
    {
        try
        {
            _reactor?.Dispose();
        }
        catch (InvalidOperationException)
        {
            // A test that gave its reactor to a thread ends it there.
        }
        GC.SuppressFinalize(this);
    }
}
