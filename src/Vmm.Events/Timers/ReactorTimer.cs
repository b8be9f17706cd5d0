namespace Vmm.Events;

/// <summary>
/// Something that is due on a reactor's thread at a time, once or again and again. Allocated once, armed any number of times. Used on the
/// reactor's thread only. <see cref="ReactorTimers.Create"/> makes one of a delegate.
/// </summary>
public abstract class ReactorTimer
{
    private readonly ReactorTimers _timers;

    /// <summary>Makes a timer that is not armed.</summary>
    /// <param name="timers">The timers of the reactor that calls it.</param>
    /// <param name="name">For messages and measurements.</param>
    protected ReactorTimer(ReactorTimers timers, string name)
    {
        ArgumentNullException.ThrowIfNull(timers);
        ArgumentException.ThrowIfNullOrEmpty(name);
        _timers = timers;
        Name = name;
    }

    /// <summary>For messages and measurements.</summary>
    public string Name { get; }

    /// <summary>The subscriber this belongs to; null if it stands alone.</summary>
    public Subscriber? Owner { get; private set; }

    /// <summary>
    /// Makes this a timer of a subscriber: it is cancelled when the subscriber is removed, and when it throws the subscriber ends, as when
    /// one of its sources' handlers throws.
    /// </summary>
    /// <exception cref="InvalidOperationException">It has an owner.</exception>
    public ReactorTimer OwnedBy(Subscriber owner)
    {
        ArgumentNullException.ThrowIfNull(owner);
        if (Owner is not null) throw new InvalidOperationException($"{Name} is a timer of {Owner.Name} already");
        Owner = owner;
        owner.Add(this);
        return this;
    }

    /// <summary>Whether it is due some time.</summary>
    public bool IsArmed => HeapIndex >= 0;

    /// <summary>
    /// Periods that passed without a call of their own because the thread was busy: they are counted here and not caught up with. The
    /// phase stays: calls come at whole periods after the first.
    /// </summary>
    public long MissedPeriods { get; internal set; }

    /// <summary>Its place in the heap; -1 while it is not armed.</summary>
    internal int HeapIndex { get; set; } = -1;

    /// <summary>When it is due, in units of the clock's timestamp.</summary>
    internal long DueAt { get; set; }

    /// <summary>Orders timers that are due at the same time: armed first, called first.</summary>
    internal long Sequence { get; set; }

    /// <summary>Units between calls; 0 if it is due once.</summary>
    internal long Period { get; set; }

    /// <summary>Arms the timer; one that is armed already starts anew. O(log n) of the armed timers.</summary>
    /// <param name="due">Time until the first call, 0 to <see cref="ReactorTimers.DueMax"/>; 0 is due in the next turn.</param>
    /// <param name="period">Time between later calls, above 0; default for one call only.</param>
    /// <exception cref="InvalidOperationException">Called from another thread than the reactor's.</exception>
    public void Arm(TimeSpan due, TimeSpan period = default) => _timers.Arm(this, due, period);

    /// <summary>Disarms the timer: it is not called, not even if it is due already. O(log n) of the armed timers.</summary>
    /// <returns>False if it was not armed.</returns>
    /// <exception cref="InvalidOperationException">Called from another thread than the reactor's.</exception>
    public bool Cancel() => _timers.Cancel(this);

    /// <summary>
    /// Called when it is due, on the reactor's thread. A timer that is due once may be armed again here, a periodic one cancelled. What it
    /// throws is reported as that of a handler, and cancels it.
    /// </summary>
    protected internal abstract void Expired(IReactor reactor);
}
