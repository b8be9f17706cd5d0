namespace Vmm.Events.Tests;

public sealed class ManualClockTests
{
    private static readonly TimeSpan Second = TimeSpan.FromSeconds(1);
    private readonly ManualClock _clock = new();
    private readonly List<(string Name, TimeSpan At)> _calls = [];

    [Fact]
    public void Time_stands_still_until_it_is_told_to_go_on()
    {
        DateTimeOffset start = _clock.GetUtcNow();
        long stamp = _clock.GetTimestamp();
        Assert.Equal(start, _clock.GetUtcNow());
        _clock.Advance(90 * Second);
        Assert.Equal(90 * Second, _clock.GetUtcNow() - start);
        Assert.Equal(90 * Second, _clock.GetElapsedTime(stamp));
        Assert.Throws<ArgumentOutOfRangeException>(() => _clock.Advance(-Second));
        Assert.Equal(new DateTime(1999, 12, 31), new ManualClock(new DateTimeOffset(1999, 12, 31, 0, 0, 0, default)).GetLocalNow().Date);
    }

    [Fact]
    public void Timers_call_back_in_order_each_at_its_own_time()
    {
        using ITimer late = Timer("late", 3 * Second), periodic = Timer("periodic", Second, Second);
        _clock.Advance(3 * Second + Second / 2);
        Assert.Equal([("periodic", Second), ("periodic", 2 * Second), ("late", 3 * Second), ("periodic", 3 * Second)], _calls);
        Assert.Equal(Second / 2, _clock.UntilNextTimer);
    }

    [Fact]
    public void A_changed_or_disposed_timer_forgets_what_it_was_armed_for()
    {
        ITimer timer = Timer("a", Second);
        Assert.True(timer.Change(5 * Second, Timeout.InfiniteTimeSpan));
        _clock.Advance(Second);
        Assert.Empty(_calls);
        timer.Change(Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        _clock.Advance(10 * Second);
        Assert.Empty(_calls);
        timer.Change(TimeSpan.Zero, Timeout.InfiniteTimeSpan);
        Assert.Single(_calls);
        timer.Change(Second, Second);
        timer.Dispose();
        Assert.Null(_clock.UntilNextTimer);
        _clock.Advance(10 * Second);
        Assert.Single(_calls);
    }

    [Fact]
    public async Task Delays_of_the_base_library_follow_it()
    {
        Task delay = Task.Delay(Second, _clock, TestContext.Current.CancellationToken);
        Assert.False(delay.IsCompleted);
        _clock.Advance(Second);
        await delay;
    }

    private ITimer Timer(string name, TimeSpan due, TimeSpan? period = null) =>
        _clock.CreateTimer(_ => _calls.Add((name, TimeSpan.FromTicks(_clock.GetTimestamp()))), null, due, period ?? Timeout.InfiniteTimeSpan);
}
