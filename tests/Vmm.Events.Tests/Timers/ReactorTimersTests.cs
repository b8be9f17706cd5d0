using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests;

/// <summary>Timers on a clock that the test owns: nothing here waits.</summary>
public sealed class ReactorTimersTests : ReactorSuite
{
    private static readonly TimeSpan Second = TimeSpan.FromSeconds(1);
    private readonly ManualClock _clock = new();
    private readonly List<string> _calls = [];

    protected override ReactorOptions Options => base.Options with { TimeProvider = _clock };

    [Fact]
    public void A_timer_is_called_once_when_it_is_due_and_not_before()
    {
        ReactorTimer timer = Create("a");
        Assert.False(timer.IsArmed);
        timer.Arm(Second);
        Assert.True(timer.IsArmed);
        Pass(Second - TimeSpan.FromTicks(1));
        Assert.Empty(_calls);
        Pass(TimeSpan.FromTicks(1));
        Assert.Equal(["a"], _calls);
        Assert.False(timer.IsArmed);
        Pass(10 * Second);
        Assert.Single(_calls);
    }

    [Fact]
    public void Timers_are_called_in_the_order_they_are_due_and_of_one_time_in_the_order_they_were_armed()
    {
        ReactorTimer late = Create("late"), first = Create("first"), second = Create("second"), early = Create("early");
        late.Arm(3 * Second);
        first.Arm(2 * Second);
        second.Arm(2 * Second);
        early.Arm(Second);
        Pass(3 * Second);
        Assert.Equal(["early", "first", "second", "late"], _calls);
    }

    [Fact]
    public void A_timer_between_two_periods_of_another_is_called_between_them()
    {
        ReactorTimer periodic = Create("periodic"), once = Create("once");
        periodic.Arm(Second, period: Second);
        once.Arm(1.5 * Second);
        Pass(Second);
        Assert.Equal(["periodic"], _calls);
        Pass(0.5 * Second);
        Assert.Equal(["periodic", "once"], _calls);
        Pass(0.5 * Second);
        Assert.Equal(["periodic", "once", "periodic"], _calls);
    }

    [Fact]
    public void A_cancelled_timer_is_not_called_even_if_it_is_due()
    {
        ReactorTimer cancelled = Create("cancelled"), other = Create("other");
        cancelled.Arm(Second);
        other.Arm(Second);
        _clock.Advance(Second);
        Assert.True(cancelled.Cancel());
        Assert.False(cancelled.Cancel());
        Turn();
        Assert.Equal(["other"], _calls);
        Assert.Equal(0, Reactor.Timers.Armed);
    }

    [Fact]
    public void A_timer_may_cancel_another_that_is_due_in_the_same_turn()
    {
        ReactorTimer victim = Create("victim");
        ReactorTimer killer = Reactor.Timers.Create((_, _) => victim.Cancel());
        killer.Arm(Second);
        victim.Arm(Second);
        Pass(Second);
        Assert.Empty(_calls);
    }

    [Fact]
    public void A_timer_that_is_armed_again_starts_anew()
    {
        ReactorTimer timer = Create("a");
        timer.Arm(Second);
        Pass(Second / 2);
        timer.Arm(2 * Second);
        Pass(Second);
        Assert.Empty(_calls);
        Pass(Second);
        Assert.Single(_calls);
        timer.Arm(2 * Second);
        timer.Arm(Second);
        Pass(Second);
        Assert.Equal(2, _calls.Count);
    }

    [Fact]
    public void A_periodic_timer_keeps_its_phase()
    {
        ReactorTimer timer = Create("a");
        timer.Arm(Second / 2, period: Second);
        for (int i = 1; i <= 5; i++)
        {
            Pass(Second / 2);
            Assert.Equal(i, _calls.Count);
            Pass(Second / 2);
            Assert.Equal(i, _calls.Count);
        }
        Assert.Equal(0, timer.MissedPeriods);
        timer.Cancel();
        Pass(5 * Second);
        Assert.Equal(5, _calls.Count);
    }

    [Fact]
    public void Missed_periods_are_counted_and_not_replayed()
    {
        ReactorTimer timer = Create("a");
        timer.Arm(Second, period: Second);
        Pass(5 * Second + Second / 2);
        Assert.Single(_calls);
        Assert.Equal(4, timer.MissedPeriods);
        Pass(Second / 2);
        Assert.Equal(2, _calls.Count);
        Assert.Equal(4, timer.MissedPeriods);
    }

    [Fact]
    public void A_timer_armed_by_a_timer_with_no_delay_is_called_in_the_next_turn()
    {
        ReactorTimer? timer = null;
        timer = Reactor.Timers.Create((self, _) =>
        {
            _calls.Add("again");
            self.Arm(TimeSpan.Zero);
        });
        timer.Arm(TimeSpan.Zero);
        for (int turn = 1; turn <= 5; turn++)
        {
            Turn();
            Assert.Equal(turn, _calls.Count);
        }
    }

    [Fact]
    public void A_turn_calls_a_bounded_number_of_timers()
    {
        const int timers = ReactorTimers.CallsPerTurnMax + 10;
        for (int i = 0; i < timers; i++) Create("a").Arm(Second);
        Pass(Second);
        Assert.Equal(ReactorTimers.CallsPerTurnMax, _calls.Count);
        Turn();
        Assert.Equal(timers, _calls.Count);
    }

    [Fact]
    public void A_timer_that_throws_is_reported_by_name_and_cancelled_and_the_others_are_called()
    {
        ReactorTimer broken = Reactor.Timers.Create((_, _) => throw new InvalidDataException(), "broken");
        broken.Arm(Second, period: Second);
        Create("other").Arm(Second);
        Pass(Second);
        Assert.Equal(["other"], _calls);
        Assert.Equal("broken", Assert.Single(Failures).Source);
        Assert.False(broken.IsArmed);
    }

    [Fact]
    public void Times_that_make_no_sense_are_refused_and_leave_the_timer_as_it_was()
    {
        ReactorTimer timer = Create("a");
        timer.Arm(Second);
        Assert.Throws<ArgumentOutOfRangeException>("due", () => timer.Arm(-Second));
        Assert.Throws<ArgumentOutOfRangeException>("period", () => timer.Arm(Second, -Second));
        Assert.Throws<ArgumentOutOfRangeException>("due", () => timer.Arm(TimeSpan.MaxValue));
        Pass(Second);
        Assert.Single(_calls);
        timer.Arm(ReactorTimers.DueMax, ReactorTimers.DueMax);
    }

    [Fact]
    public void I5_timers_belong_to_the_reactor_s_thread()
    {
        ReactorTimer timer = Create("a");
        Exception?[] thrown = new Exception?[3];
        Thread other = new(() => thrown =
        [
            Record.Exception(() => timer.Arm(Second)), Record.Exception(() => timer.Cancel()), Record.Exception(() => Reactor.Timers),
        ]);
        other.Start();
        other.Join();
        Assert.All(thrown, exception => Assert.IsType<InvalidOperationException>(exception));
    }

    [Fact]
    public void A_disposed_reactor_calls_no_timer_and_arms_none()
    {
        ReactorTimer timer = Create("a");
        timer.Arm(Second);
        Reactor.Dispose();
        _clock.Advance(Second);
        Assert.Empty(_calls);
        Assert.Throws<ObjectDisposedException>(() => timer.Arm(Second));
        Assert.Null(_clock.UntilNextTimer);
    }

    [Fact]
    public void Arming_calling_and_cancelling_allocate_nothing()
    {
        int calls = 0;
        ReactorTimer[] timers = [.. Enumerable.Range(0, 100).Select(_ => Reactor.Timers.Create((_, _) => calls++))];
        SteadyState.AllocatesNothing(() =>
        {
            calls = 0;
            for (int i = 0; i < 100; i++) Round();
        });
        Assert.Equal(100 * 50, calls);

        void Round()
        {
            for (int i = 0; i < timers.Length; i++) timers[i].Arm(TimeSpan.FromTicks(1 + i % 7));
            for (int i = 0; i < timers.Length; i += 2) timers[i].Cancel();
            Pass(Second);
        }
    }

    [Fact]
    public void Ten_thousand_random_operations_agree_with_a_sorted_list()
    {
        Random random = new(TestSeed.Take());
        List<int> called = [];
        Dictionary<int, (long Due, long Order)> model = [];
        ReactorTimer[] timers = [.. Enumerable.Range(0, 200).Select(i => Reactor.Timers.Create((_, _) => called.Add(i)))];
        for (int order = 0; order < 10_000; order++)
        {
            int which = random.Next(timers.Length);
            switch (random.Next(4))
            {
                case 0:
                    Assert.Equal(model.Remove(which), timers[which].Cancel());
                    break;
                case 1:
                    called.Clear();
                    Pass(TimeSpan.FromTicks(random.Next(20)));
                    int[] due = [.. model.Where(each => each.Value.Due <= _clock.GetTimestamp()).OrderBy(each => each.Value).Select(each => each.Key)];
                    foreach (int each in due) model.Remove(each);
                    Assert.Equal(due, called);
                    break;
                default:
                    int ticks = random.Next(1, 50);
                    timers[which].Arm(TimeSpan.FromTicks(ticks));
                    model[which] = (_clock.GetTimestamp() + ticks, order);
                    break;
            }
            Assert.Equal(model.Count, Reactor.Timers.Armed);
        }
    }

    private ReactorTimer Create(string name) => Reactor.Timers.Create((timer, _) => _calls.Add(timer.Name), name);

    private void Pass(TimeSpan time)
    {
        _clock.Advance(time);
        Turn();
    }
}
