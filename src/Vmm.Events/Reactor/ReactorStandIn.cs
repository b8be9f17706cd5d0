namespace Vmm.Events;

/// <summary>
/// For tests of handlers: a real reactor behind a mocked <see cref="IReactor"/>, so that <see cref="ReactorTimers.Of"/>, the tasks and the
/// rings of the mock work. What a handler adds, modifies or removes still goes to the mock alone. The test turns the reactor by hand, on
/// the thread that made this.
/// </summary>
/// <example><code>
/// Mock&lt;IReactor&gt; reactor = new();
/// ManualClock clock = new();
/// using ReactorStandIn behind = new(reactor.Object, new ReactorOptions { TimeProvider = clock });
/// device.OnKick(kick, reactor.Object);      // arms a timer of ReactorTimers.Of(reactor)
/// clock.Advance(TimeSpan.FromSeconds(1));
/// behind.Turn();                            // the timer's handler runs, and gets the mock
/// </code></example>
public sealed class ReactorStandIn : IDisposable
{
    private static readonly ConditionalWeakTable<IReactor, Reactor> Behind = [];

    private readonly IReactor _mock;
    private readonly Reactor _reactor;

    /// <summary>Puts a reactor behind a mock.</summary>
    /// <param name="mock">What handlers are called with.</param>
    /// <param name="options">How the reactor behaves; with a <see cref="ManualClock"/> the test owns the time.</param>
    /// <exception cref="ArgumentException">It is a real reactor, or has one behind it already.</exception>
    public ReactorStandIn(IReactor mock, ReactorOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(mock);
        if (mock is Reactor) throw new ArgumentException("this is a real reactor: it needs none behind it", nameof(mock));
        _mock = mock;
        _reactor = new Reactor(options) { Face = mock };
        if (Behind.TryAdd(mock, _reactor)) return;
        _reactor.Dispose();
        throw new ArgumentException("there is a reactor behind this mock already", nameof(mock));
    }

    /// <summary>How other threads reach the mock.</summary>
    public RemoteEndpoint Remote => _reactor.Remote;

    /// <summary>What the reactor behind the mock did so far.</summary>
    public ReactorStatistics Statistics => _reactor.Statistics;

    /// <summary>One turn that does not wait: timers that are due, posted calls, tasks that are ready, completions.</summary>
    /// <returns>How many of them there were.</returns>
    public int Turn() => _reactor.RunOnce(TimeSpan.Zero);

    /// <summary>Calls the handler of a subscription as a reactor does, with the mock.</summary>
    public void Dispatch(Subscription subscription, Readiness ready)
    {
        ArgumentNullException.ThrowIfNull(subscription);
        subscription.Dispatch(ready, _mock);
    }

    /// <summary>Turns until something was done or the time is up.</summary>
    /// <inheritdoc cref="Reactor.RunOnce" path="/returns"/>
    public int Turn(TimeSpan timeout) => _reactor.RunOnce(timeout);

    /// <summary>Ends the tasks, timers and rings of the mock.</summary>
    public void Dispose()
    {
        Behind.Remove(_mock);
        _reactor.Dispose();
    }

    /// <summary>The real reactor that a handler got, or the one behind the mock that it got.</summary>
    /// <exception cref="ArgumentException">It is a mock with nothing behind it.</exception>
    internal static Reactor RealOf(IReactor reactor, string what, [CallerArgumentExpression(nameof(reactor))] string? parameter = null)
    {
        ArgumentNullException.ThrowIfNull(reactor, parameter);
        if (reactor is SubscriberReactor seen) return RealOf(seen.Inner, what, parameter);
        return reactor as Reactor ?? (Behind.TryGetValue(reactor, out Reactor? real) ? real : throw new ArgumentException(
            $"{what} a real reactor, or a mock with a {nameof(ReactorStandIn)} behind it", parameter));
    }
}
