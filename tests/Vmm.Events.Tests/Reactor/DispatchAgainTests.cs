using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests;

/// <summary>Handlers that stop with work left, and are called in the next turn without a signal of their descriptor.</summary>
public abstract class DispatchAgainTests : ReactorSuite
{
    [Fact]
    public void A_handler_is_called_once_more_in_the_next_turn_and_is_told_that_nothing_was_reported()
    {
        List<Readiness> calls = [];
        Subscription<EventFd> source = null!;
        source = Watch((_, ready, reactor) =>
        {
            calls.Add(ready);
            if (calls.Count == 1)
            {
                // Several requests are one call.
                reactor.DispatchAgain(source);
                reactor.DispatchAgain(source);
            }
        });
        source.Fd.Signal();
        Assert.Equal(1, Turn());
        Assert.Equal(1, Turn());
        Assert.Equal(0, Turn());
        Assert.Equal([true, false], calls.Select(ready => ready.IsReadable));
        Assert.Equal("nothing", calls[1].ToString());
    }

    [Fact]
    public void It_does_not_wait_for_an_event()
    {
        int calls = 0;
        Subscription<EventFd> source = Watch((_, _, _) => calls++);
        Reactor.DispatchAgain(source);
        Assert.Equal(1, Reactor.RunOnce(Timeout.InfiniteTimeSpan));
        Assert.Equal(1, calls);
    }

    [Fact]
    public void A_handler_that_asks_for_ever_does_not_hold_back_the_events_of_others()
    {
        List<string> order = [];
        Subscription<EventFd> endless = null!;
        endless = Watch((_, _, reactor) =>
        {
            order.Add("endless");
            reactor.DispatchAgain(endless);
        });
        Subscription<EventFd> other = Watch((_, _, _) => order.Add("other"));
        Reactor.DispatchAgain(endless);
        for (int turn = 0; turn < 3; turn++)
        {
            other.Fd.Signal();
            Turn();
        }
        Assert.Equal(["other", "endless", "other", "endless", "other", "endless"], order);
    }

    [Fact]
    public void A_source_that_was_removed_before_its_turn_is_not_called_and_leaves_no_ghost()
    {
        Subscription<EventFd> victim = Watch((_, _, _) => Assert.Fail("called"));
        Reactor.DispatchAgain(victim);
        Reactor.Remove(victim);
        Turn();
        // And by a handler of the same turn, when what is due is decided already; its slot gets another tenant at once.
        Subscription<EventFd> second = Watch((_, _, _) => Assert.Fail("called"));
        int tenants = 0;
        Subscription<EventFd> remover = Watch((_, _, reactor) =>
        {
            reactor.Remove(second);
            Watch((_, _, _) => tenants++);
        });
        Reactor.DispatchAgain(second);
        remover.Fd.Signal();
        Turn();
        Turn();
        Assert.Equal(0, tenants);
        Assert.Equal(0, Reactor.Statistics.Rebuilds);
        Assert.Empty(Failures);
    }

    [Fact]
    public void One_that_throws_costs_its_subscriber_and_the_others_have_their_turn()
    {
        using Subscriber device = new("vda");
        int calls = 0;
        Subscription<EventFd> broken = Interest.Kick.WithFd(new EventFd())
            .WithHandler((EventFd _, Readiness _, IReactor _) => throw new InvalidDataException()).OwnedBy(device).RegisterInto(Reactor);
        Subscription<EventFd> sound = Watch((_, _, _) => calls++);
        Reactor.DispatchAgain(broken);
        Reactor.DispatchAgain(sound);
        Turn();
        Assert.Equal(1, calls);
        Assert.Single(Failures);
        Assert.True(broken.Handle.IsClosed);
        Assert.Equal(0, Turn());
    }

    [Fact]
    public void It_is_refused_for_what_is_not_registered_and_for_one_shots()
    {
        Subscription<EventFd> source = Watch((_, _, _) => { });
        Reactor.Detach(source);
        Assert.Throws<InvalidOperationException>(() => Reactor.DispatchAgain(source));
        source.Fd.Dispose();
        Subscription<EventFd> once = Interest.Readable.OneShot.WithFd(new EventFd()).WithHandler(_ => { }).RegisterInto(Reactor);
        Assert.Throws<InvalidOperationException>(() => Reactor.DispatchAgain(once));
    }

    [Fact]
    public void It_goes_with_a_subscriber_that_is_handed_to_another_reactor()
    {
        using Subscriber device = new("vda");
        using Reactor other = NewReactor();
        int calls = 0;
        Subscription<EventFd> source = Watch((_, _, _) => calls++, device);
        Reactor.DispatchAgain(source);
        HandedOver.From(Reactor, device).Into(other);
        Assert.Equal(0, Turn());
        Assert.Equal(1, other.RunOnce(TimeSpan.Zero));
        Assert.Equal(1, calls);
    }

    [Fact]
    public void Steady_use_allocates_nothing()
    {
        int calls = 0;
        Subscription<EventFd> source = null!;
        source = Watch((_, _, reactor) =>
        {
            calls++;
            reactor.DispatchAgain(source);
        });
        Reactor.DispatchAgain(source);
        SteadyState.AllocatesNothing(() => Turn());
        Assert.True(calls > 0);
    }

    private Subscription<EventFd> Watch(Action<EventFd, Readiness, IReactor> handler, Subscriber? owner = null)
    {
        Subscription<EventFd> source = Interest.Kick.WithFd(new EventFd()).WithHandler(handler);
        return (owner is null ? source : source.OwnedBy(owner)).RegisterInto(Reactor);
    }
}

public sealed class DispatchAgainOnEpollTests : DispatchAgainTests;

public sealed class DispatchAgainOnIoRingTests : DispatchAgainTests
{
    protected override PollerKind Poller => PollerKind.IoRing;
}
