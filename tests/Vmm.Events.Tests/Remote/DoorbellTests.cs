using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests;

/// <summary>Exactly one later dispatch, never zero (design: the remote endpoint).</summary>
public abstract class DoorbellTests : ReactorSuite
{
    private int _calls;

    [Fact]
    public void A_ring_before_the_reactor_first_waits_is_one_call()
    {
        Doorbell doorbell = Reactor.Remote.CreateDoorbell(_ => _calls++);
        doorbell.Ring();
        Assert.Equal(1, Reactor.RunOnce(Patience));
        Assert.Equal(0, Turn());
        Assert.Equal(1, _calls);
    }

    [Fact]
    public void Many_rings_before_one_wake_are_one_call()
    {
        Doorbell doorbell = Reactor.Remote.CreateDoorbell(_ => _calls++);
        for (int i = 0; i < 1000; i++) doorbell.Ring();
        Assert.Equal(1, Turn());
        Assert.Equal(0, Turn());
        Assert.Equal(1, _calls);
    }

    [Fact]
    public void Rings_during_the_handler_are_exactly_one_later_call()
    {
        Doorbell? doorbell = null;
        bool nested = false, running = false;
        doorbell = Reactor.Remote.CreateDoorbell(_ =>
        {
            nested |= running;
            running = true;
            if (_calls++ == 0)
            {
                for (int i = 0; i < 10; i++) doorbell!.Ring();
            }
            running = false;
        });
        doorbell.Ring();
        while (Turn() > 0)
        {
        }
        Assert.Equal(2, _calls);
        Assert.False(nested);
    }

    [Fact]
    public void A_ring_in_a_descriptor_s_handler_is_heard()
    {
        Doorbell doorbell = Reactor.Remote.CreateDoorbell(_ => _calls++);
        WatchRaised((fd, _) =>
        {
            fd.TryRead(out ulong _);
            doorbell.Ring();
        });
        Turn();
        Turn();
        Assert.Equal(1, _calls);
    }

    [Fact]
    public void A_ring_that_finds_the_reactor_awake_costs_no_wake_up()
    {
        Doorbell doorbell = Reactor.Remote.CreateDoorbell(_ => _calls++);
        for (int i = 0; i < 100; i++)
        {
            doorbell.Ring();
            Turn();
        }
        Assert.Equal(100, _calls);
        Assert.Equal(0, Reactor.Statistics.WakeUps);
    }

    [Fact]
    public void A_ring_wakes_a_reactor_that_sleeps()
    {
        using RunningReactor running = new(Options);
        using SemaphoreSlim heard = new(0);
        Doorbell doorbell = running.Remote.CreateDoorbell(_ => heard.Release());
        for (int i = 0; i < 100; i++)
        {
            doorbell.Ring();
            Assert.True(heard.Wait(Patience, TestContext.Current.CancellationToken));
        }
        Assert.InRange(running.Remote.Invoke(_ => running.Reactor.Statistics.WakeUps, Patience, TestContext.Current.CancellationToken), 1, 101);
    }

    [Fact]
    public void Rings_from_eight_threads_are_each_followed_by_a_call()
    {
        const int producers = 8;
        const int ringsEach = 5_000;
        using RunningReactor running = new(Options);
        long rung = 0, seen = 0;
        int unheard = 0;
        Doorbell doorbell = running.Remote.CreateDoorbell(_ => Volatile.Write(ref seen, Volatile.Read(ref rung)));
        Thread[] threads = [.. Enumerable.Range(0, producers).Select(_ => new Thread(() =>
        {
            for (int i = 0; i < ringsEach; i++)
            {
                long mine = Interlocked.Increment(ref rung);
                doorbell.Ring();
                // The call that follows a ring sees what was written before it.
                if (i % 64 == 0 && !SpinWait.SpinUntil(() => Volatile.Read(ref seen) >= mine, Patience)) Interlocked.Increment(ref unheard);
            }
        }))];
        foreach (Thread thread in threads) thread.Start();
        foreach (Thread thread in threads) Assert.True(thread.Join(Patience));
        Assert.Equal(0, unheard);
        Assert.True(SpinWait.SpinUntil(() => Volatile.Read(ref seen) == producers * ringsEach, Patience));
    }

    /// <summary>It has no caller that waits, and carries nothing: the next ring is refused.</summary>
    [Fact]
    public void I6_a_ring_that_a_stop_catches_is_dropped_and_the_next_one_is_refused()
    {
        using CancellationTokenSource stop = new();
        Doorbell doorbell = Reactor.Remote.CreateDoorbell(_ => _calls++);
        Reactor.Remote.Post(_ =>
        {
            stop.Cancel();
            doorbell.Ring();
        });
        Reactor.Run(stop.Token);
        Assert.Equal(0, _calls);
        Assert.Empty(Failures);
        Assert.False(doorbell.TryRing());
        Assert.Throws<ReactorStoppedException>(doorbell.Ring);
    }

    [Fact]
    public void A_ring_and_a_post_of_a_signal_allocate_nothing()
    {
        Doorbell doorbell = Reactor.Remote.CreateDoorbell(_ => _calls++);
        SteadyState.AllocatesNothing(() =>
        {
            _calls = 0;
            for (int i = 0; i < 10_000; i++)
            {
                doorbell.Ring();
                Reactor.Remote.Post((RemoteCall)doorbell);
                Turn();
            }
        });
        Assert.Equal(10_000, _calls);
    }
}

public sealed class DoorbellOnEpollTests : DoorbellTests;

public sealed class DoorbellOnIoRingTests : DoorbellTests
{
    protected override PollerKind Poller => PollerKind.IoRing;
}
