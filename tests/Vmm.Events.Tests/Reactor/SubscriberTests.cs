using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests;

/// <summary>Several sources under one name, look-up, and taking a reactor apart.</summary>
public abstract class SubscriberTests : ReactorSuite
{
    [Fact]
    public void The_sources_of_a_subscriber_go_together()
    {
        using Subscriber device = new("vda");
        Subscription<EventFd>[] sources = [.. Enumerable.Range(0, 4).Select(_ => Watch(device))];
        Assert.Equal(sources, device.Subscriptions);
        Assert.Equal(4, device.RemoveFrom(Reactor));
        Assert.Empty(device.Subscriptions);
        Assert.All(sources, source => Assert.True(source.Handle.IsClosed));
        Assert.Equal(0, device.RemoveFrom(Reactor));
    }

    [Fact]
    public void One_source_of_a_subscriber_can_go_alone()
    {
        using Subscriber device = new("vda");
        Subscription<EventFd> first = Watch(device), second = Watch(device);
        Assert.True(Reactor.Remove(first));
        Assert.Same(second, Assert.Single(device.Subscriptions));
    }

    [Fact]
    public void A_handler_may_remove_its_whole_subscriber()
    {
        using Subscriber device = new("vda");
        Subscription<EventFd> other = Watch(device);
        int calls = 0;
        Interest.Readable.WithFd(new EventFd(initial: 1)).WithHandler((EventFd fd, IReactor reactor) =>
        {
            calls++;
            Assert.Equal(2, device.RemoveFrom(reactor));
            Assert.True(other.Handle.IsClosed);
            Assert.True(fd.TryRead(out _));
        }).OwnedBy(device).RegisterInto(Reactor);
        Turn();
        Turn();
        Assert.Equal(1, calls);
        Assert.Empty(Failures);
    }

    [Fact]
    public void A_source_that_is_registered_keeps_its_owner()
    {
        using Subscriber device = new("vda");
        Subscription<EventFd> source = Watch(device);
        Assert.Throws<InvalidOperationException>(() => source.OwnedBy(new Subscriber("vdb")));
    }

    [Fact]
    public void A_subscriber_lives_in_one_reactor_at_a_time()
    {
        using Subscriber device = new("vda");
        Watch(device);
        using Reactor other = NewReactor();
        Subscription<EventFd> second = Interest.None.WithFd(new EventFd()).WithHandler(_ => { }).OwnedBy(device);
        Assert.Throws<InvalidOperationException>(() => second.RegisterInto(other));
        Assert.False(second.Handle.IsClosed);
        device.RemoveFrom(Reactor);
        second.RegisterInto(other);
        Assert.Same(second, Assert.Single(device.Subscriptions));
    }

    [Fact]
    public void A_live_subscription_is_found_by_its_descriptor_number_and_a_removed_one_is_not()
    {
        Subscription<EventFd> subscription = Watch(null);
        int number = subscription.Fd.Number;
        Assert.True(Reactor.TryFind(number, out Subscription? found));
        Assert.Same(subscription, found);
        Reactor.Detach(subscription);
        Assert.False(Reactor.TryFind(number, out _));
        Assert.False(Reactor.TryFind(-1, out _));
        Assert.False(Reactor.TryFind(int.MaxValue, out _));
        subscription.Handle.Dispose();
    }

    [Fact]
    public void The_wake_up_of_the_reactor_itself_is_nobody_s_subscription()
    {
        for (int number = 0; number < 1024; number++) Assert.False(Reactor.TryFind(number, out _));
        Assert.Empty(Reactor.TakeApart());
    }

    [Fact]
    public void Detach_leaves_the_descriptor_open_for_another_reactor_and_no_event_is_lost()
    {
        int calls = 0;
        Subscription<EventFd> subscription = Interest.Doorbell.WithFd(new EventFd()).WithHandler(_ => calls++).RegisterInto(Reactor);
        using Reactor other = NewReactor();
        subscription.Fd.Signal();
        Assert.True(Reactor.Detach(subscription));
        Assert.False(Reactor.Detach(subscription));
        Assert.Equal(0, Turn());
        other.Add(subscription);
        Assert.Equal(1, other.RunOnce(TimeSpan.Zero));
        Assert.Equal(1, calls);
    }

    [Fact]
    public void A_handler_may_detach_itself_and_register_elsewhere()
    {
        int calls = 0;
        using Reactor other = NewReactor();
        Subscription<EventFd>? self = null;
        self = WatchRaised((_, _) =>
        {
            calls++;
            if (calls > 1) return;
            Assert.True(Reactor.Detach(self!));
            other.Add(self!);
        });
        Turn();
        Turn();
        Assert.Equal(1, calls);
        other.RunOnce(TimeSpan.Zero);
        Assert.Equal(2, calls);
        Assert.Empty(Failures);
    }

    [Fact]
    public void Taking_a_reactor_apart_hands_back_its_subscriptions_with_their_descriptors_open()
    {
        using Subscriber device = new("vda");
        Subscription<EventFd> first = Watch(device), second = Watch(null);
        Assert.Equal([first, second], Reactor.TakeApart());
        Assert.False(first.Handle.IsClosed);
        Assert.Empty(device.Subscriptions);
        Assert.Throws<ObjectDisposedException>(() => Reactor.Add(first));
        using Reactor other = NewReactor();
        other.Add(first);
        other.Add(second);
        Assert.Same(first, Assert.Single(device.Subscriptions));
    }

    [Fact]
    public void Disposing_a_reactor_closes_what_it_watches()
    {
        using Pipe pipe = new();
        Interest.Readable.WithFd(pipe.Read).WithHandler((OwnedFd _) => { }).RegisterInto(Reactor);
        Reactor.Dispose();
        Reactor.Dispose();
        Assert.False(pipe.IsReadEndOpen);
    }

    private Subscription<EventFd> Watch(Subscriber? owner)
    {
        Subscription<EventFd> subscription = Interest.None.WithFd(new EventFd()).WithHandler(_ => { });
        if (owner is not null) subscription.OwnedBy(owner);
        return subscription.RegisterInto(Reactor);
    }
}

public sealed class SubscriberOnEpollTests : SubscriberTests;

public sealed class SubscriberOnIoRingTests : SubscriberTests
{
    protected override PollerKind Poller => PollerKind.IoRing;
}
