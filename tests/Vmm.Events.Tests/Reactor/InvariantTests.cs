using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests;

/// <summary>The reactor's invariants that no other suite names: I1, I3, I6, I7 (I2: slots and ghosts, I4: builder, I5: refusals).</summary>
public abstract class InvariantTests : ReactorSuite
{
    [Fact]
    public void I1_a_hundred_thousand_events_allocate_nothing_on_the_reactor_s_thread()
    {
        const int eventsMax = 100_000;
        int events = 0;
        EventFd kick = new();
        Interest.Kick.WithFd(kick).WithHandler((EventFd fd, IReactor _) =>
        {
            events++;
            fd.Signal();
        }).RegisterInto(Reactor);
        Interest.Readable.WithFd(new EventFd()).WithCountingHandler((fd, _, _) => fd.Signal()).RegisterInto(Reactor).Fd.Signal();
        Doorbell doorbell = Reactor.Remote.CreateDoorbell(_ => { });
        kick.Signal();
        SteadyState.AllocatesNothing(() =>
        {
            for (events = 0; events < eventsMax;)
            {
                doorbell.Ring();
                Reactor.RunOnce(Patience);
            }
        });
        Assert.Equal(0, Reactor.Statistics.Ghosts);
        Assert.True(Reactor.Statistics.RemoteCalls >= eventsMax - 1);
    }

    [Fact]
    public void I1_an_event_is_one_virtual_call_of_the_subscription()
    {
        CountingSubscription subscription = new(new EventFd(initial: 1));
        Reactor.Add(subscription);
        for (int i = 1; i <= 5; i++)
        {
            Turn();
            Assert.Equal(i, subscription.Dispatches);
        }
        Assert.Equal(5, Reactor.Statistics.Events);
    }

    [Fact]
    public void I3_disposing_a_registered_handle_does_not_close_it_before_its_removal()
    {
        using Pipe pipe = new();
        int calls = 0;
        Subscription<OwnedFd> subscription = Interest.Readable.WithFd(pipe.Read).WithHandler((OwnedFd _) => calls++).RegisterInto(Reactor);
        pipe.Read.Dispose();
        Assert.True(pipe.IsReadEndOpen);
        pipe.Fill();
        Turn();
        Assert.Equal(1, calls);
        Assert.True(Reactor.Remove(subscription));
        Assert.False(pipe.IsReadEndOpen);
        Turn();
        Assert.Equal(1, calls);
    }

    [Fact]
    public void I3_a_refused_add_leaves_the_handle_to_its_caller()
    {
        using Pipe pipe = new();
        Subscription<OwnedFd> first = Interest.Readable.WithFd(pipe.Read).WithHandler((OwnedFd _) => { }).RegisterInto(Reactor);
        Assert.Throws<InvalidOperationException>(() => Interest.Readable.WithFd(pipe.Read).WithHandler((OwnedFd _) => { }).RegisterInto(Reactor));
        Assert.True(Reactor.Detach(first));
        Assert.True(pipe.IsReadEndOpen);
        pipe.Read.Dispose();
        Assert.False(pipe.IsReadEndOpen);
    }

    [Fact]
    public async Task I6_what_is_pending_at_the_end_fails_and_says_so()
    {
        Doorbell doorbell = Reactor.Remote.CreateDoorbell(_ => { }, "the bell");
        doorbell.Ring();
        Reactor.Remote.Post(_ => { });
        Task<int> invoked = Reactor.Remote.InvokeAsync(_ => 1, cancellation: TestContext.Current.CancellationToken);
        Reactor.Dispose();
        await Assert.ThrowsAsync<ReactorStoppedException>(() => invoked);
        // The ring carried nothing: the next one is refused.
        Assert.False(doorbell.TryRing());
        Assert.Equal(["a posted call"], Failures.Select(failure => failure.Source));
        Assert.All(Failures, failure => Assert.IsType<ReactorStoppedException>(failure.Exception));
    }

    [Fact]
    public void I7_a_turn_runs_a_bounded_number_of_calls_and_the_descriptors_have_theirs_in_each()
    {
        const int callsPerTurn = 8;
        Configure(options => options with { RemoteCallsPerTurnMax = callsPerTurn });
        int calls = 0, events = 0;
        WatchRaised((_, _) => events++);
        for (int i = 0; i < 5 * callsPerTurn + 3; i++) Reactor.Remote.Post(_ => calls++);
        for (int turn = 1; turn <= 5; turn++)
        {
            Assert.Equal(callsPerTurn + 1, Turn());
            Assert.Equal(turn * callsPerTurn, calls);
            Assert.Equal(turn, events);
        }
        Assert.Equal(3 + 1, Turn());
    }

    [Fact]
    public void I7_a_call_that_posts_itself_again_does_not_starve_the_descriptors()
    {
        Configure(options => options with { RemoteCallsPerTurnMax = 4 });
        int calls = 0, events = 0;
        WatchRaised((_, _) => events++);
        Again again = new(Reactor.Remote, () => calls++);
        Reactor.Remote.Post(again);
        for (int turn = 1; turn <= 10; turn++)
        {
            Reactor.RunOnce(Patience);
            Assert.Equal(turn, events);
            Assert.Equal(4 * turn, calls);
        }
    }

    [Fact]
    public void A_batch_larger_than_one_wait_takes_is_served_in_several()
    {
        Configure(options => options with { EventsPerWaitMax = 16 });
        int calls = 0;
        for (int i = 0; i < 100; i++) WatchRaised((_, _) => calls++, Interest.Kick);
        int largest = 0;
        while (calls < 100) largest = Math.Max(largest, Turn());
        Assert.Equal(16, largest);
        Assert.Equal(0, Turn());
        Assert.Equal(100, calls);
    }

    [Fact]
    public void The_statistics_count_what_happened()
    {
        WatchRaised((fd, _) => Assert.True(fd.TryRead(out ulong _)));
        Turn();
        Turn();
        Reactor.Remote.Post(_ => { });
        Turn();
        ReactorStatistics statistics = Reactor.Statistics;
        Assert.Equal(3, statistics.Waits);
        Assert.Equal(1, statistics.Events);
        Assert.Equal(1, statistics.RemoteCalls);
        Assert.Equal(0, statistics.WakeUps);
        Assert.Equal(1.0 / 3, statistics.EventsPerWait, precision: 6);
    }

    [Fact]
    public void The_bytes_that_handlers_allocate_are_counted()
    {
        const int bytes = 10_000;
        WatchRaised((_, _) => GC.KeepAlive(new byte[bytes]));
        long before = Reactor.Statistics.AllocatedBytes;
        Turn();
        Assert.True(Reactor.Statistics.AllocatedBytes - before >= bytes);
        // Once it is warm that is all: an array has a head of its own.
        SteadyState.Allocates(bytes, bytes + 64, () =>
        {
            before = Reactor.Statistics.AllocatedBytes;
            Turn();
            return Reactor.Statistics.AllocatedBytes - before;
        });
    }

    private sealed class CountingSubscription(EventFd fd) : Subscription<EventFd>(fd, Interest.Readable)
    {
        internal int Dispatches { get; private set; }

        protected internal override void Dispatch(Readiness ready, IReactor reactor) => Dispatches++;
    }

    private sealed class Again(RemoteEndpoint endpoint, Action work) : RemoteCall
    {
        protected internal override void Run(IReactor reactor)
        {
            work();
            endpoint.Post(this);
        }
    }
}

public sealed class InvariantOnEpollTests : InvariantTests;

public sealed class InvariantOnIoRingTests : InvariantTests
{
    protected override PollerKind Poller => PollerKind.IoRing;
}
