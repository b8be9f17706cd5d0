namespace Vmm.Events;

/// <summary>
/// Something with several descriptors, such as a device: they have a name in common and go together. All that are registered are in the
/// same reactor.
/// While one is registered the subscriber belongs to that reactor, which removes all of them and disposes the subscriber when a handler of
/// it throws and when the reactor itself is disposed. Removed by <see cref="RemoveFrom"/>, or handed back by
/// <see cref="Reactor.TakeApart"/>, it is the caller's.
/// </summary>
public class Subscriber : IDisposable
{
    private readonly List<Subscription> _subscriptions = [];
    private readonly List<ReactorTimer> _timers = [];

    /// <summary>Makes a subscriber with no sources.</summary>
    /// <param name="name">For messages and measurements.</param>
    public Subscriber(string name)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        Name = name;
    }

    /// <summary>For messages and measurements.</summary>
    public string Name { get; }

    /// <summary>The sources that are registered now.</summary>
    public IReadOnlyList<Subscription> Subscriptions => _subscriptions;

    /// <summary>Removes every source of this subscriber from the reactor, and cancels its timers.</summary>
    /// <returns>How many sources there were.</returns>
    public int RemoveFrom(IReactor reactor)
    {
        ArgumentNullException.ThrowIfNull(reactor);
        foreach (ReactorTimer timer in _timers) timer.Cancel();
        int removed = 0;
        for (int i = _subscriptions.Count - 1; i >= 0; i--)
        {
            if (reactor.Remove(_subscriptions[i])) removed++;
        }
        return removed;
    }

    /// <summary>
    /// The reactor as the parts of this subscriber see it: what is added through it, and has no owner, is a source of this subscriber. For
    /// parts that are made without knowing of it.
    /// </summary>
    public IReactor In(IReactor reactor)
    {
        ArgumentNullException.ThrowIfNull(reactor);
        return new SubscriberReactor(this, reactor);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Releases what the subscriber holds beside its descriptors, which the reactor closes.</summary>
    protected virtual void Dispose(bool disposing)
    {
    }

    /// <summary>The sources of a subscriber are touched by one thread: that of one reactor.</summary>
    internal void ThrowIfElsewhere(Reactor reactor)
    {
        if (_subscriptions.Count > 0 && _subscriptions[0].Registrar is { } other && other != reactor)
            throw new InvalidOperationException(
                $"{Name} has sources in reactor '{other.Name}': a subscriber lives in one reactor at a time");
    }

    internal void Add(ReactorTimer timer) => _timers.Add(timer);

    internal void Registered(Subscription subscription) => _subscriptions.Add(subscription);

    internal void Removed(Subscription subscription) => _subscriptions.Remove(subscription);
}
