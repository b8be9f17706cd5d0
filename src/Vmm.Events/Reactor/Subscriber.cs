namespace Vmm.Events;

/// <summary>
/// Something that listens to several descriptors, such as a device: they have a name in common and go together. When a handler of it
/// throws, the reactor removes all of them and disposes the subscriber. All that are registered are in the same reactor.
/// </summary>
public class Subscriber : IDisposable
{
    private readonly List<Subscription> _subscriptions = [];

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

    /// <summary>Removes every source of this subscriber from the reactor.</summary>
    /// <returns>How many there were.</returns>
    public int RemoveFrom(IReactor reactor)
    {
        ArgumentNullException.ThrowIfNull(reactor);
        int removed = 0;
        for (int i = _subscriptions.Count - 1; i >= 0; i--)
        {
            if (reactor.Remove(_subscriptions[i])) removed++;
        }
        return removed;
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
            throw new InvalidOperationException($"{Name} has sources in reactor '{other.Name}': a subscriber lives in one reactor at a time");
    }

    internal void Registered(Subscription subscription) => _subscriptions.Add(subscription);

    internal void Removed(Subscription subscription) => _subscriptions.Remove(subscription);
}
