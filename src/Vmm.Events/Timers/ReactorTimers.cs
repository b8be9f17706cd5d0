namespace Vmm.Events;

/// <summary>
/// The timers of a reactor: any number of them over one timer of the kernel, or over the clock that
/// <see cref="ReactorOptions.TimeProvider"/> names. Used on the reactor's thread only.
/// </summary>
public sealed class ReactorTimers
{
    /// <summary>Most timers called in one turn; the rest is called in the next, after the descriptors had theirs.</summary>
    public const int CallsPerTurnMax = 1024;

    private const long Never = long.MaxValue;

    private readonly Reactor _reactor;
    private readonly TimeProvider _clock;
    private readonly TimerHeap _heap = new();
    private readonly ITimerWake _wake;
    private long _sequence;
    private long _wakeAt = Never;
    private bool _calling;

    internal ReactorTimers(Reactor reactor)
    {
        _reactor = reactor;
        _clock = reactor.Options.TimeProvider;
        _wake = ReferenceEquals(_clock, TimeProvider.System)
            ? new KernelTimerWake(reactor, CallDue) : new ClockTimerWake(reactor, _clock, CallDue);
    }

    /// <summary>Longest time that a timer can be armed for: a hundred years.</summary>
    public static TimeSpan DueMax { get; } = TimeSpan.FromDays(36_500);

    /// <summary>The timers of the reactor that a handler got.</summary>
    /// <exception cref="ArgumentException">It is a mock with no <see cref="ReactorStandIn"/> behind it.</exception>
    /// <exception cref="KernelException">The process has no descriptor left for the first timer.</exception>
    public static ReactorTimers Of(IReactor reactor)
    {
        return ReactorStandIn.RealOf(reactor, "timers need").Timers;
    }

    /// <summary>How many timers are armed.</summary>
    public int Armed => _heap.Count;

    /// <summary>Makes a timer of a delegate.</summary>
    /// <param name="handler">Called on the reactor's thread when the timer is due.</param>
    /// <param name="name">For messages and measurements.</param>
    public ReactorTimer Create(Action<ReactorTimer, IReactor> handler, string name = "a timer")
    {
        ArgumentNullException.ThrowIfNull(handler);
        return new DelegateTimer(this, name, handler);
    }

    internal void Arm(ReactorTimer timer, TimeSpan due, TimeSpan period)
    {
        CheckRange(due, nameof(due));
        CheckRange(period, nameof(period));
        _reactor.CheckUsable();
        timer.DueAt = _clock.GetTimestamp() + Units(due);
        timer.Period = period == TimeSpan.Zero ? 0 : Math.Max(1, Units(period));
        timer.Sequence = ++_sequence;
        if (timer.IsArmed) _heap.Reorder(timer); else _heap.Add(timer);
        WakeForTheFirst();
    }

    internal bool Cancel(ReactorTimer timer)
    {
        _reactor.CheckThread();
        if (!timer.IsArmed) return false;
        // The wake-up that was set for it finds nothing to do: cheaper than a system call now.
        _heap.Remove(timer);
        return true;
    }

    internal void Dispose() => _wake.Dispose();

    /// <summary>Calls what is due. What handlers arm meanwhile comes in a later turn, however soon it is due.</summary>
    private void CallDue()
    {
        _wakeAt = Never;
        _calling = true;
        long now = _clock.GetTimestamp();
        long last = _sequence;
        for (int calls = 0; calls < CallsPerTurnMax && !_reactor.StopRequested; calls++)
        {
            if (_heap.First is not { } timer || timer.DueAt > now || timer.Sequence > last) break;
            Advance(timer, now);
            Call(timer);
        }
        _calling = false;
        WakeForTheFirst();
    }

    /// <summary>A periodic timer goes on to its first period that is not over yet, any other ends.</summary>
    private void Advance(ReactorTimer timer, long now)
    {
        if (timer.Period == 0)
        {
            _heap.Remove(timer);
            return;
        }
        long missed = (now - timer.DueAt) / timer.Period;
        timer.MissedPeriods += missed;
        timer.DueAt += (missed + 1) * timer.Period;
        timer.Sequence = ++_sequence;
        _heap.Reorder(timer);
    }

    private void Call(ReactorTimer timer)
    {
        _reactor.Watching?.Switch(timer);
        try
        {
            timer.Expired(_reactor.Face);
        }
        catch (Exception exception)
        {
            Cancel(timer);
            timer.Owner?.RemoveFrom(_reactor);
            _reactor.FailWork(timer.Owner is null ? timer.Name : $"{timer.Owner.Name}/{timer.Name}", exception);
            if (timer.Owner is { } owner) _reactor.DisposeOwner(owner, owner.Name);
        }
    }

    private void WakeForTheFirst()
    {
        // While timers are called, one look at the end serves them all.
        if (_calling || _heap.First is not { } first || first.DueAt >= _wakeAt) return;
        _wake.Set(TimeSpan.FromTicks(Ticks(first.DueAt - _clock.GetTimestamp())));
        _wakeAt = first.DueAt;
    }

    private long Units(TimeSpan span) => (long)((Int128)span.Ticks * _clock.TimestampFrequency / TimeSpan.TicksPerSecond);

    /// <summary>Rounded up: a wake-up that comes too early would find nothing due and have to be set again.</summary>
    private long Ticks(long units) =>
        units <= 0 ? 0 : (long)(((Int128)units * TimeSpan.TicksPerSecond + _clock.TimestampFrequency - 1) / _clock.TimestampFrequency);

    private static void CheckRange(TimeSpan span, string parameter)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(span, TimeSpan.Zero, parameter);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(span, DueMax, parameter);
    }

    private sealed class DelegateTimer(ReactorTimers timers, string name, Action<ReactorTimer, IReactor> handler)
        : ReactorTimer(timers, name)
    {
        protected internal override void Expired(IReactor reactor) => handler(this, reactor);
    }
}
