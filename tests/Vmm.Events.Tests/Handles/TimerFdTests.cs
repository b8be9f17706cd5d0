using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests;

public abstract class TimerFdTests : ReactorSuite
{
    [Fact]
    public void A_timer_expires_once()
    {
        ulong expirations = 0;
        TimerFd timer = new();
        Interest.Readable.WithFd(timer).WithHandler((TimerFd fd) => Assert.True(fd.TryRead(out expirations))).RegisterInto(Reactor);
        timer.Arm(TimeSpan.FromMilliseconds(1));
        Assert.Equal(1, Reactor.RunOnce(Patience));
        Assert.Equal(1u, expirations);
        Assert.False(timer.TryRead(out _));
    }

    [Fact]
    public void A_delay_of_nothing_expires_at_once()
    {
        TimerFd timer = new();
        int calls = 0;
        Interest.Readable.WithFd(timer).WithHandler((TimerFd fd) => { calls++; fd.Disarm(); }).RegisterInto(Reactor);
        timer.Arm(TimeSpan.Zero);
        Assert.Equal(1, Reactor.RunOnce(Patience));
        timer.Arm(TimeSpan.FromSeconds(-1));
        Assert.Equal(1, Reactor.RunOnce(Patience));
        Assert.Equal(2, calls);
    }

    [Fact]
    public void A_periodic_timer_counts_the_periods_since_it_was_read()
    {
        using TimerFd timer = new();
        timer.Arm(TimeSpan.FromMilliseconds(1), period: TimeSpan.FromMilliseconds(1));
        ulong total = 0;
        Assert.True(SpinWait.SpinUntil(() => (total += timer.TryRead(out ulong expirations) ? expirations : 0) >= 5, Patience));
    }

    [Fact]
    public void A_disarmed_timer_forgets_an_expiration_that_was_not_read()
    {
        using TimerFd timer = new();
        timer.Arm(TimeSpan.Zero);
        Interest.Readable.WithFd((TimerFd)timer).WithHandler((TimerFd _) => { }).RegisterInto(Reactor);
        Assert.Equal(1, Reactor.RunOnce(Patience));
        timer.Disarm();
        Assert.False(timer.TryRead(out ulong expirations));
        Assert.Equal(0u, expirations);
    }

    [Fact]
    public void A_negative_period_is_refused()
    {
        using TimerFd timer = new();
        Assert.Throws<ArgumentOutOfRangeException>(() => timer.Arm(TimeSpan.Zero, TimeSpan.FromSeconds(-1)));
    }
}

public sealed class TimerFdOnEpollTests : TimerFdTests;

public sealed class TimerFdOnIoRingTests : TimerFdTests
{
    protected override PollerKind Poller => PollerKind.IoRing;
}
