namespace Vmm.Events;

/// <summary>
/// A clock that stands still until it is advanced: for tests that control time. Timers made of it call back inside
/// <see cref="Advance"/>, in the order they are due, at the time they are due. Thread-safe.
/// </summary>
/// <example><c>new Reactor(new ReactorOptions { TimeProvider = clock })</c></example>
public sealed class ManualClock : TimeProvider
{
    private readonly Lock _lock = new();
    private readonly List<ManualTimer> _armed = [];
    private readonly DateTimeOffset _start;
    private long _elapsedTicks;

    /// <summary>Makes a clock.</summary>
    /// <param name="start">What it shows at first; null for midnight of 1 January 2000, UTC.</param>
    public ManualClock(DateTimeOffset? start = null) => _start = start ?? new DateTimeOffset(2000, 1, 1, 0, 0, 0, TimeSpan.Zero);

    /// <inheritdoc/>
    public override long TimestampFrequency => TimeSpan.TicksPerSecond;

    /// <inheritdoc/>
    public override TimeZoneInfo LocalTimeZone => TimeZoneInfo.Utc;

    /// <summary>
    /// Time from now until the next timer is due; null if none is armed. A simulation that has nothing to do advances the clock by it.
    /// </summary>
    public TimeSpan? UntilNextTimer
    {
        get
        {
            lock (_lock) return FirstDue() is { } first ? TimeSpan.FromTicks(first.DueTicks - _elapsedTicks) : null;
        }
    }

    /// <inheritdoc/>
    public override long GetTimestamp() => Volatile.Read(ref _elapsedTicks);

    /// <inheritdoc/>
    public override DateTimeOffset GetUtcNow() => _start.AddTicks(GetTimestamp());

    /// <summary>Lets time pass, stopping at each timer that becomes due.</summary>
    /// <param name="time">0 or more.</param>
    public void Advance(TimeSpan time)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(time, TimeSpan.Zero);
        long target = GetTimestamp() + time.Ticks;
        while (TakeDue(target) is { } timer) timer.Call();
    }

    /// <inheritdoc/>
    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        ArgumentNullException.ThrowIfNull(callback);
        ManualTimer timer = new(this, callback, state);
        timer.Change(dueTime, period);
        return timer;
    }

    /// <summary>Advances to the first timer that is due up to a time, or to that time.</summary>
    private ManualTimer? TakeDue(long target)
    {
        lock (_lock)
        {
            ManualTimer? first = FirstDue();
            if (first is null || first.DueTicks > target)
            {
                Volatile.Write(ref _elapsedTicks, Math.Max(_elapsedTicks, target));
                return null;
            }
            Volatile.Write(ref _elapsedTicks, Math.Max(_elapsedTicks, first.DueTicks));
            first.DueTicks += first.PeriodTicks;
            if (first.PeriodTicks == 0) _armed.Remove(first);
            return first;
        }
    }

    private ManualTimer? FirstDue()
    {
        ManualTimer? first = null;
        foreach (ManualTimer timer in _armed)
        {
            if (first is null || timer.DueTicks < first.DueTicks) first = timer;
        }
        return first;
    }

    private bool Change(ManualTimer timer, TimeSpan dueTime, TimeSpan period)
    {
        bool isDue;
        lock (_lock)
        {
            _armed.Remove(timer);
            if (dueTime == Timeout.InfiniteTimeSpan) return true;
            ArgumentOutOfRangeException.ThrowIfLessThan(dueTime, TimeSpan.Zero);
            timer.DueTicks = _elapsedTicks + dueTime.Ticks;
            timer.PeriodTicks = period == Timeout.InfiniteTimeSpan ? 0 : period.Ticks;
            ArgumentOutOfRangeException.ThrowIfNegative(timer.PeriodTicks, nameof(period));
            isDue = dueTime == TimeSpan.Zero;
            if (isDue) timer.DueTicks += timer.PeriodTicks;
            if (!isDue || timer.PeriodTicks > 0) _armed.Add(timer);
        }
        if (isDue) timer.Call();
        return true;
    }

    private void Forget(ManualTimer timer)
    {
        lock (_lock) _armed.Remove(timer);
    }

    private sealed class ManualTimer(ManualClock clock, TimerCallback callback, object? state) : ITimer
    {
        internal long DueTicks { get; set; }

        internal long PeriodTicks { get; set; }

        internal void Call() => callback(state);

        public bool Change(TimeSpan dueTime, TimeSpan period) => clock.Change(this, dueTime, period);

        public void Dispose() => clock.Forget(this);

        public ValueTask DisposeAsync()
        {
            Dispose();
            return ValueTask.CompletedTask;
        }
    }
}
