using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests;

/// <summary>Timers on the kernel's clock: what they do in the long run, not how fast.</summary>
public abstract class KernelTimersTests : ReactorSuite
{
    private static readonly TimeSpan Short = TimeSpan.FromMilliseconds(1);

    [Fact]
    public void Timers_of_one_reactor_share_one_descriptor_and_come_in_order()
    {
        int before = OpenDescriptors.Count();
        List<ReactorTimer> timers = [];
        List<ReactorTimer> calls = [];
        for (int i = 0; i < 50; i++)
        {
            ReactorTimer timer = Reactor.Timers.Create((timer, _) => calls.Add(timer));
            timer.Arm(Short * (50 - i));
            timers.Add(timer);
        }
        while (calls.Count < 50) Assert.True(Reactor.RunOnce(Patience) > 0);
        // By when they are due, which is not for certain against the order of arming: a thread can lose its processor for more than a
        // millisecond.
        Assert.Equal(timers.OrderBy(timer => timer.DueAt), calls);
        // One timer, one epoll set, one wake-up, and what the runtime may open meanwhile.
        Assert.True(OpenDescriptors.Count() - before <= 10);
    }

    [Fact]
    public void A_timer_never_comes_before_its_time()
    {
        long start = TimeProvider.System.GetTimestamp();
        TimeSpan took = default;
        Reactor.Timers.Create((_, _) => took = TimeProvider.System.GetElapsedTime(start)).Arm(20 * Short);
        while (took == default) Reactor.RunOnce(Patience);
        Assert.True(took >= 20 * Short, $"{took}");
    }

    [Fact]
    public void A_busy_thread_misses_periods_and_counts_them()
    {
        int calls = 0;
        ReactorTimer timer = Reactor.Timers.Create((_, _) => calls++);
        timer.Arm(Short, period: Short);
        Thread.Sleep(20 * Short);
        Reactor.RunOnce(Patience);
        Assert.Equal(1, calls);
        Assert.True(timer.MissedPeriods >= 10);
        Reactor.RunOnce(Patience);
        Assert.Equal(2, calls);
    }

    [Fact]
    public void An_earlier_timer_wakes_a_reactor_that_sleeps_for_a_later_one()
    {
        using RunningReactor running = new();
        using ManualResetEventSlim called = new();
        running.Remote.Post(_ => running.Reactor.Timers.Create((_, _) => { }).Arm(TimeSpan.FromHours(1)));
        running.Remote.Post(_ => running.Reactor.Timers.Create((_, _) => called.Set()).Arm(Short));
        Assert.True(called.Wait(Patience, TestContext.Current.CancellationToken));
    }

    [Fact]
    public void The_timers_of_a_reactor_are_not_among_its_subscriptions()
    {
        Reactor.Timers.Create((_, _) => { }).Arm(Short);
        for (int number = 0; number < 1024; number++) Assert.False(Reactor.TryFind(number, out _));
        Assert.Empty(Reactor.TakeApart());
    }
}

[Collection(Alone.Name)]
public sealed class KernelTimersOnEpollTests : KernelTimersTests;

[Collection(Alone.Name)]
public sealed class KernelTimersOnIoRingTests : KernelTimersTests
{
    protected override PollerKind Poller => PollerKind.IoRing;
}
