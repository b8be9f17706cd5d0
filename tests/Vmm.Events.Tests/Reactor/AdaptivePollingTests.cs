using System.Diagnostics;
using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests;

/// <summary>Looking for events before blocking: the window, and what it saves.</summary>
public abstract class AdaptivePollingTests : ReactorSuite
{
    private static readonly long Millisecond = Stopwatch.Frequency / 1000;

    [Fact]
    public void Off_by_default() => Assert.Null(Reactor.Polling);

    [Fact]
    public void The_window_doubles_while_events_come_soon_up_to_the_most_allowed()
    {
        AdaptivePolling polling = new(TimeSpan.FromMicroseconds(30));
        List<double> windows = [];
        for (int i = 0; i < 6; i++)
        {
            polling.Blocked(Math.Min(polling.Window + 1, Millisecond / 50));
            windows.Add(Math.Round(polling.WindowTime.TotalMicroseconds));
        }
        Assert.Equal([4, 8, 16, 30, 30, 30], windows);
    }

    [Fact]
    public void The_window_halves_when_events_come_late_down_to_nothing()
    {
        AdaptivePolling polling = new(TimeSpan.FromMicroseconds(16));
        for (int i = 0; i < 3; i++) polling.Blocked(polling.Window + 1);
        List<double> windows = [];
        for (int i = 0; i < 4; i++)
        {
            polling.Blocked(Millisecond);
            windows.Add(Math.Round(polling.WindowTime.TotalMicroseconds));
        }
        Assert.Equal([8, 4, 0, 0], windows);
    }

    [Fact]
    public void An_event_within_the_window_leaves_it_as_it_is()
    {
        AdaptivePolling polling = new(TimeSpan.FromMicroseconds(16));
        polling.Blocked(1);
        polling.Blocked(polling.Window);
        Assert.Equal(AdaptivePolling.WindowMin, polling.WindowTime);
    }

    [Fact]
    public void A_looking_reactor_is_reached_without_a_wake_up()
    {
        using RunningReactor running = new(Options with { PollMax = Patience });
        Reactor reactor = running.Reactor;
        reactor.Remote.Invoke(_ => Grow(reactor.Polling!, Patience / 4), Patience);
        long before = reactor.Remote.Invoke(_ => reactor.Statistics.WakeUps, Patience);
        for (int i = 0; i < 100; i++) reactor.Remote.Invoke(_ => { }, Patience);
        Assert.Equal(before, reactor.Remote.Invoke(_ => reactor.Statistics.WakeUps, Patience));
    }

    [Fact]
    public void A_looking_reactor_sees_events_and_the_request_to_stop()
    {
        using RunningReactor running = new(Options with { PollMax = Patience });
        EventFd kick = new();
        EventFd echo = new();
        using EventFd kicker = kick.Duplicate();
        using EventFd listener = echo.Duplicate();
        running.Remote.Invoke(reactor => reactor.Add(Interest.Readable.WithFd(kick).WithHandler(fd =>
        {
            fd.TryRead(out _);
            echo.Signal();
        })), Patience);
        for (int i = 0; i < 50; i++)
        {
            kicker.Signal();
            Assert.True(SpinWait.SpinUntil(() => listener.TryRead(out _), Patience), "the event was not seen");
        }
        running.Stop();
        echo.Dispose();
    }

    [Fact]
    public void A_look_ends_with_the_time_of_its_turn()
    {
        Configure(options => options with { PollMax = TimeSpan.FromDays(1) });
        Grow(Reactor.Polling!, TimeSpan.FromHours(1));
        Assert.Equal(0, Reactor.RunOnce(TimeSpan.FromMilliseconds(5)));
    }

    /// <summary>As if events had come soon after each wait began.</summary>
    private static void Grow(AdaptivePolling polling, TimeSpan window)
    {
        while (polling.WindowTime < window) polling.Blocked(polling.Window + 1);
    }
}

public sealed class AdaptivePollingOnEpollTests : AdaptivePollingTests;

public sealed class AdaptivePollingOnIoRingTests : AdaptivePollingTests
{
    protected override PollerKind Poller => PollerKind.IoRing;
}
