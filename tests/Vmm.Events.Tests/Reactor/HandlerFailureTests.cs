using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests;

/// <summary>What is left standing when a handler throws.</summary>
public abstract class HandlerFailureTests : ReactorSuite
{
    [Fact]
    public void Every_source_of_a_subscriber_whose_handler_throws_goes_and_the_subscriber_is_disposed()
    {
        CountingSubscriber device = new("vda");
        Subscription<EventFd> other = Interest.None.WithFd(new EventFd()).WithHandler(_ => { }).OwnedBy(device).RegisterInto(Reactor);
        EventFd kick = new(initial: 1);
        Interest.Readable.WithFd(kick).WithHandler(_ => throw new InvalidDataException()).OwnedBy(device).RegisterInto(Reactor);
        Turn();
        Assert.Empty(device.Subscriptions);
        Assert.True(other.Handle.IsClosed);
        Assert.True(kick.IsClosed);
        Assert.Equal(1, device.Disposals);
        Assert.StartsWith("vda/", Assert.Single(Failures).Source, StringComparison.Ordinal);
    }

    [Fact]
    public void A_handler_that_throws_after_it_removed_itself_closes_its_descriptor_and_disposes_its_subscriber()
    {
        using Pipe pipe = new();
        pipe.Fill();
        CountingSubscriber device = new("vda");
        Subscription<OwnedFd>? self = null;
        self = Interest.Readable.WithFd(pipe.Read).WithHandler((OwnedFd _, IReactor reactor) =>
        {
            reactor.Remove(self!);
            throw new InvalidDataException();
        }).OwnedBy(device).RegisterInto(Reactor);
        Turn();
        Assert.False(pipe.IsReadEndOpen);
        Assert.Equal(1, device.Disposals);
        Assert.Single(Failures);
    }

    [Fact]
    public void A_handler_that_throws_after_it_removed_its_whole_subscriber_is_reported_under_its_name()
    {
        CountingSubscriber device = new("vda");
        Interest.None.WithFd(new EventFd()).WithHandler(_ => { }).OwnedBy(device).RegisterInto(Reactor);
        Interest.Readable.WithFd(new EventFd(initial: 1)).WithHandler((EventFd _, IReactor reactor) =>
        {
            Assert.Equal(2, device.RemoveFrom(reactor));
            throw new InvalidDataException();
        }).OwnedBy(device).RegisterInto(Reactor);
        Turn();
        Assert.Equal(1, device.Disposals);
        Assert.StartsWith("vda/", Assert.Single(Failures).Source, StringComparison.Ordinal);
    }

    [Fact]
    public void A_subscriber_that_throws_when_disposed_is_reported_too()
    {
        CountingSubscriber device = new("vda") { ThrowsWhenDisposed = true };
        Interest.Readable.WithFd(new EventFd(initial: 1)).WithHandler(_ => throw new InvalidDataException()).OwnedBy(device)
            .RegisterInto(Reactor);
        Turn();
        Assert.Equal(2, Failures.Count);
        Assert.Equal(1, Reactor.Statistics.HandlerFailures);
    }

    [Fact]
    public void A_report_that_throws_does_not_stop_the_reactor()
    {
        Configure(options => options with { OnHandlerFailure = _ => throw new InvalidOperationException("the report fails") });
        int calls = 0;
        WatchRaised((_, _) => throw new InvalidDataException());
        WatchRaised((_, _) => calls++);
        Turn();
        Turn();
        Assert.Equal(2, calls);
    }

    [Fact]
    public void A_handler_that_throws_wakes_no_slot_of_a_later_event()
    {
        // All of a batch throw: each is removed once, reported once.
        for (int i = 0; i < 300; i++) WatchRaised((_, _) => throw new InvalidDataException());
        while (Reactor.Statistics.HandlerFailures < 300) Turn();
        Assert.Equal(300, Failures.Count);
        Assert.Equal(0, Turn());
        Assert.Equal(0, Reactor.Statistics.Ghosts);
    }

    [Fact]
    public void A_remote_call_that_throws_is_reported_and_the_others_run()
    {
        int calls = 0;
        Reactor.Remote.Post(_ => throw new InvalidDataException());
        Reactor.Remote.Post(_ => calls++);
        Assert.Equal(2, Turn());
        Assert.Equal(1, calls);
        Assert.Equal("a posted call", Assert.Single(Failures).Source);
    }

    [Fact]
    public async Task A_failure_that_stops_a_reactor_turned_by_hand_fails_the_calls_that_wait()
    {
        Configure(options => options with { HandlerFailurePolicy = HandlerFailurePolicy.StopReactor, RemoteCallsPerTurnMax = 1 });
        Reactor.Remote.Post(_ => throw new InvalidDataException());
        Task<int> pending = Reactor.Remote.InvokeAsync(_ => 1, cancellation: TestContext.Current.CancellationToken);
        Assert.Throws<InvalidDataException>(() => Turn());
        await Assert.ThrowsAsync<ReactorStoppedException>(() => pending);
    }

    private sealed class CountingSubscriber(string name) : Subscriber(name)
    {
        internal int Disposals { get; private set; }

        internal bool ThrowsWhenDisposed { get; init; }

        protected override void Dispose(bool disposing)
        {
            base.Dispose(disposing);
            Disposals++;
            if (ThrowsWhenDisposed) throw new InvalidOperationException("cannot be disposed");
        }
    }
}

public sealed class HandlerFailureOnEpollTests : HandlerFailureTests;

public sealed class HandlerFailureOnIoRingTests : HandlerFailureTests
{
    protected override PollerKind Poller => PollerKind.IoRing;
}
