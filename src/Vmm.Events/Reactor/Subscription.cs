namespace Vmm.Events;

/// <summary>
/// One descriptor, the interest in it, and its handler. The reactor's slot points at this object; an event is one call of
/// <see cref="Dispatch"/>. Derive from <see cref="Subscription{TFd}"/> for a handler without a delegate, or use
/// <see cref="Interest.WithFd{TFd}"/>.
/// </summary>
public abstract class Subscription
{
    private protected Subscription(OwnedFd fd, Interest interest)
    {
        ArgumentNullException.ThrowIfNull(fd);
        Handle = fd;
        Interest = interest;
    }

    /// <summary>The watched descriptor. The reactor owns it while the subscription is registered.</summary>
    public OwnedFd Handle { get; }

    /// <summary>Which events are handled. Changed by <see cref="IReactor.Modify"/>.</summary>
    public Interest Interest { get; internal set; }

    /// <summary>The subscriber this belongs to; null if it stands alone.</summary>
    public Subscriber? Owner { get; internal set; }

    /// <summary>For messages and measurements: whose event this is.</summary>
    public virtual string Name => Owner is null ? Handle.ToString() : $"{Owner.Name}/{Handle}";

    /// <summary>Whether a reactor watches it now.</summary>
    public bool IsRegistered => Registrar is not null;

    /// <summary>
    /// Whether the reactor that watches it looks for its work in memory besides: it is an <see cref="IPolledSource"/>, and that reactor
    /// polls.
    /// </summary>
    public bool IsPolled { get; internal set; }

    /// <summary>Whether it is a part of the reactor, of which its users know nothing.</summary>
    internal bool BelongsToReactor { get; set; }

    /// <summary>Whether its handler is to be called in the next turn, whatever the kernel reports.</summary>
    internal bool IsDueAgain { get; set; }

    /// <summary>The reactor that watches it.</summary>
    internal Reactor? Registrar { get; set; }

    /// <summary>Its slot there: index into the table.</summary>
    internal int SlotIndex { get; set; } = -1;

    /// <summary>Handles one event, on the reactor's thread.</summary>
    /// <param name="ready">What the kernel reported.</param>
    /// <param name="reactor">What the handler may use.</param>
    protected internal abstract void Dispatch(Readiness ready, IReactor reactor);
}

/// <summary>A subscription that hands its own, typed descriptor to its handler.</summary>
public abstract class Subscription<TFd> : Subscription where TFd : OwnedFd
{
    /// <summary>Makes a subscription that is not registered yet.</summary>
    protected Subscription(TFd fd, Interest interest) : base(fd, interest) => Fd = fd;

    /// <summary>The watched descriptor.</summary>
    public TFd Fd { get; }

    /// <summary>Makes this one of the sources of a subscriber, to be removed with all its others.</summary>
    /// <exception cref="InvalidOperationException">It is registered already.</exception>
    public Subscription<TFd> OwnedBy(Subscriber owner)
    {
        if (IsRegistered) throw new InvalidOperationException($"{Name} is registered: name its owner before that");
        Owner = owner;
        return this;
    }

    /// <summary>Has a reactor watch it.</summary>
    /// <inheritdoc cref="IReactor.Add" path="/exception"/>
    public Subscription<TFd> RegisterInto(IReactor reactor)
    {
        ArgumentNullException.ThrowIfNull(reactor);
        reactor.Add(this);
        return this;
    }
}
