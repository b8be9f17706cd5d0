using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests;

/// <summary>What shows in memory is found there by a reactor that looks before it blocks.</summary>
public abstract class PolledSourceTests : ReactorSuite
{
    protected override ReactorOptions Options => base.Options with { PollMax = Patience };

    [Fact]
    public void Work_in_memory_is_found_without_a_signal()
    {
        Grow();
        Source source = Watch();
        source.Work = 3;
        while (source.Handled < 3) Assert.Equal(1, Reactor.RunOnce(Patience));
    }

    [Fact]
    public void Work_that_comes_when_the_reactor_is_about_to_block_is_not_lost()
    {
        // It has not grown a window: it blocks at once.
        Source source = Watch();
        source.OnStopLooking = () => source.Work = 1;
        Assert.Equal(1, Reactor.RunOnce(Timeout.InfiniteTimeSpan));
        Assert.Equal(1, source.Handled);
    }

    [Fact]
    public void Before_it_blocks_the_descriptor_is_asked_to_tell()
    {
        Source source = Watch();
        source.OnStopLooking = () => source.Fd.Signal();
        Assert.Equal(1, Reactor.RunOnce(Timeout.InfiniteTimeSpan));
        Assert.Equal(1, source.Handled);
    }

    [Fact]
    public void Descriptors_have_their_turn_beside_memory_that_always_has_work()
    {
        Grow();
        Source source = Watch();
        source.Work = int.MaxValue;
        bool seen = false;
        WatchRaised((fd, _) => seen = fd.TryRead(out ulong _));
        for (int i = 0; i < 32; i++) Reactor.RunOnce(Patience);
        Assert.True(seen);
        Assert.True(source.Handled > 8);
    }

    [Fact]
    public void Sources_that_always_have_work_have_their_turns_alike()
    {
        Grow();
        Source[] sources = [Watch(), Watch(), Watch()];
        foreach (Source source in sources) source.Work = int.MaxValue;
        for (int i = 0; i < 60; i++) Reactor.RunOnce(Patience);
        Assert.All(sources, source => Assert.InRange(source.Handled, 15, 25));
    }

    [Fact]
    public void A_source_that_was_removed_is_not_asked_any_more()
    {
        Grow();
        Source removed = Watch(), other = Watch();
        Assert.True(removed.IsPolled);
        Reactor.Remove(removed);
        Assert.False(removed.IsPolled);
        removed.Work = other.Work = 1;
        Assert.Equal(1, Reactor.RunOnce(Patience));
        Assert.Equal((0, 1), (removed.Handled, other.Handled));
    }

    [Fact]
    public void A_reactor_that_does_not_poll_asks_nobody()
    {
        Configure(options => options with { PollMax = TimeSpan.Zero });
        Source source = Watch();
        source.Work = 1;
        Assert.False(source.IsPolled);
        Assert.Equal(0, Reactor.RunOnce(TimeSpan.FromMilliseconds(1)));
        Assert.Equal(0, source.Asked);
    }

    private Source Watch()
    {
        Source source = new();
        source.RegisterInto(Reactor);
        return source;
    }

    /// <summary>As if events had come soon after each wait began.</summary>
    private void Grow()
    {
        AdaptivePolling polling = Reactor.Polling!;
        while (polling.WindowTime < Patience) polling.Blocked(polling.Window + 1);
    }

    private sealed class Source() : Subscription<EventFd>(new EventFd(), Interest.Kick), IPolledSource
    {
        internal int Asked { get; private set; }

        internal int Work { get; set; }

        internal int Handled { get; private set; }

        internal Action OnStopLooking { get; set; } = () => { };

        public bool HasWork
        {
            get
            {
                Asked++;
                return Work > 0;
            }
        }

        public bool StopLooking()
        {
            Asked++;
            OnStopLooking();
            return Work > 0;
        }

        protected internal override void Dispatch(Readiness ready, IReactor reactor)
        {
            Handled++;
            if (Work > 0) Work--;
        }
    }
}

public sealed class PolledSourceOnEpollTests : PolledSourceTests;

public sealed class PolledSourceOnIoRingTests : PolledSourceTests
{
    protected override PollerKind Poller => PollerKind.IoRing;
}
