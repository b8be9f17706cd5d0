using Vmm.Events.Tests.Support;
using Vmm.Tests;

namespace Vmm.Events.Tests;

/// <summary>
/// The reactor announces that it sleeps and then looks at the queue; a producer queues and then looks for a sleeper. At least one of them
/// must see the
/// other. Here is one producer, and no other that could make up for what it missed.
/// </summary>
public sealed class SleepFenceTests
{
    [Fact]
    public void Of_a_reactor_that_falls_asleep_and_the_one_producer_of_a_call_one_sees_the_other()
    {
        using Reactor reactor = new();
        RemoteEndpoint remote = reactor.Remote;
        Nothing call = new();
        Litmus.Race(remote.Awake, here: () => remote.AnnounceSleep(-1) == 0, there: () =>
        {
            Assert.True(remote.TryPost(call));
            return remote.Wakeful.Fd.TryRead(out _);
        }, () => Assert.Equal(1, remote.RunCalls(1)));
    }

    /// <summary>The same for the call that the reactor looks at without a queue: its caller sleeps until it is run.</summary>
    [Fact]
    public void Of_a_reactor_that_falls_asleep_and_a_thread_whose_call_it_looks_at_one_sees_the_other()
    {
        using Reactor reactor = new();
        RemoteEndpoint remote = reactor.Remote;
        Func<IReactor, int> function = _ => 1;
        bool isWoken = false;
        Litmus.Race(remote.Awake, here: () =>
        {
            bool isSeen = remote.AnnounceSleep(-1) == 0;
            isWoken = false;
            long end = Environment.TickCount64 + (long)ReactorSuite.Patience.TotalMilliseconds;
            while (!isSeen && !isWoken && Environment.TickCount64 < end) isWoken = remote.Wakeful.Fd.TryRead(out _);
            remote.Awake();
            while (remote.RunCalls(1) == 0) Thread.Yield();
            return isSeen;
        }, there: () => remote.Invoke(function) == 1 && isWoken, () => _ = remote.Wakeful.Fd.TryRead(out _));
    }

    /// <summary>Each step of it decides one way of the race by hand: who comes first, and who must see whom.</summary>
    [Fact]
    public void A_call_whose_producer_took_its_place_before_the_announcement_and_looks_after_it_wakes_the_reactor()
    {
        using Reactor reactor = new();
        RemoteEndpoint remote = reactor.Remote;
        Nothing call = new();
        // Announce, look, then place, link, look: the producer sees the sleeper.
        Assert.Equal(-1, remote.AnnounceSleep(-1));
        Assert.True(remote.TryPost(call));
        Assert.True(remote.Wakeful.Fd.TryRead(out _));
        Assert.Equal(1, remote.RunCalls(1));
        // Place, link, then announce, look: the reactor sees the call and does not sleep.
        remote.Awake();
        Assert.True(remote.TryPost(call));
        Assert.Equal(0, remote.AnnounceSleep(-1));
        Assert.False(remote.Wakeful.Fd.TryRead(out _));
        Assert.Equal(1, remote.RunCalls(1));
        // Place, announce, look: not linked, so the reactor sleeps for a moment at most.
        RemoteCall before = remote.Queue.TakePlace(call);
        Assert.Equal(1, remote.AnnounceSleep(-1));
        RemoteQueue.Link(before, call);
        remote.Wake();
        Assert.True(remote.Wakeful.Fd.TryRead(out _));
        Assert.Equal(1, remote.RunCalls(1));
    }

    private sealed class Nothing : RemoteCall
    {
        protected internal override void Run(IReactor reactor)
        {
        }
    }
}
