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
    public void A_device_with_kicks_a_host_side_and_a_timer_is_one_subscriber_with_a_slot_for_each_eventfd_and_goes_as_one()
    {
        // The timers of a reactor share one slot, which stays.
        ReactorTimers timers = Reactor.Timers;
        int before = Reactor.SlotsInUse;
        using Subscriber device = new("vda");
        List<string> heard = [];
        EventFd[] kicks = [new(), new()];
        for (int queue = 0; queue < kicks.Length; queue++)
        {
            int number = queue;
            Interest.Kick.WithFd(kicks[queue]).WithHandler(_ => heard.Add($"kick {number}")).OwnedBy(device).RegisterInto(Reactor);
        }
        EventFd later = new(), host = new();
        Interest.Kick.WithFd(later).WithHandler(_ => heard.Add("later turn")).OwnedBy(device).RegisterInto(Reactor);
        Interest.Readable.WithFd(host).WithCountingHandler((_, _, _) => heard.Add("host")).OwnedBy(device).RegisterInto(Reactor);
        ReactorTimer timer = timers.Create((_, _) => heard.Add("timer")).OwnedBy(device);
        timer.Arm(TimeSpan.FromHours(1));
        Assert.Equal(before + 4, Reactor.SlotsInUse);
        foreach (EventFd fd in (EventFd[])[.. kicks, later, host]) fd.Signal();
        while (heard.Count < 4) Turn();
        Assert.Equal(["host", "kick 0", "kick 1", "later turn"], heard.Order());
        Assert.Equal(4, device.RemoveFrom(Reactor));
        Assert.Equal(before, Reactor.SlotsInUse);
        Assert.False(timer.IsArmed);
        Assert.Equal(0, timers.Armed);
        Assert.All((EventFd[])[.. kicks, later, host], fd => Assert.True(fd.IsClosed));
    }

    [Fact]
    public void What_is_added_through_a_subscriber_s_own_view_of_the_reactor_is_its_source()
    {
        using Subscriber device = new("vda"), other = new("vdb");
        IReactor seen = device.In(Reactor);
        Subscription<EventFd> own = Interest.Kick.WithFd(new EventFd()).WithHandler(_ => { });
        Subscription<EventFd> others = Interest.Kick.WithFd(new EventFd()).WithHandler(_ => { }).OwnedBy(other);
        seen.Add(own);
        seen.Add(others);
        Assert.Same(own, Assert.Single(device.Subscriptions));
        Assert.Same(others, Assert.Single(other.Subscriptions));
        Assert.Same(Reactor.Timers, ReactorTimers.Of(seen));
        seen.Modify(own, Interest.Readable);
        Assert.Equal(Interest.Readable, own.Interest);
        Assert.True(seen.Remove(others));
        Assert.Equal(1, device.RemoveFrom(Reactor));
        Assert.True(own.Handle.IsClosed);
        Assert.True(others.Handle.IsClosed);
    }

    [Fact]
    public void A_timer_that_throws_ends_its_subscriber_as_a_handler_does()
    {
        List<string> disposed = [];
        ToldSubscriber device = new("vda", disposed);
        Subscription<EventFd> source = Watch(device);
        ReactorTimer other = Reactor.Timers.Create((_, _) => { }).OwnedBy(device);
        other.Arm(TimeSpan.FromHours(1));
        ReactorTimer broken = Reactor.Timers.Create((_, _) => throw new InvalidDataException(), "watchdog").OwnedBy(device);
        Assert.Throws<InvalidOperationException>(() => broken.OwnedBy(device));
        broken.Arm(TimeSpan.Zero);
        while (Failures.Count == 0) Reactor.RunOnce(Patience);
        Assert.Equal("vda/watchdog", Assert.Single(Failures).Source);
        Assert.True(source.Handle.IsClosed);
        Assert.False(other.IsArmed);
        Assert.Equal(["vda"], disposed);
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
            int before = Reactor.SlotsInUse;
            Assert.Equal(2, device.RemoveFrom(reactor));
            Assert.Equal(before - 2, Reactor.SlotsInUse);
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
        Subscription<EventFd> subscription = Interest.Kick.WithFd(new EventFd()).WithHandler(_ => calls++).RegisterInto(Reactor);
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

    [Fact]
    public void Disposing_a_reactor_disposes_each_subscriber_that_still_has_sources_in_it_once()
    {
        List<string> disposed = [];
        ToldSubscriber first = new("vda", disposed), second = new("vdb", disposed), gone = new("vdc", disposed);
        Watch(first);
        Watch(second);
        Watch(first);
        Watch(gone);
        gone.RemoveFrom(Reactor);
        Reactor.Dispose();
        Reactor.Dispose();
        Assert.Equal(["vda", "vdb"], disposed);
        Assert.Empty(first.Subscriptions);
        Assert.Empty(Failures);
    }

    [Fact]
    public void A_subscriber_that_throws_when_its_reactor_is_disposed_is_reported_and_keeps_no_other_from_its_end()
    {
        using Pipe pipe = new();
        List<string> disposed = [];
        ToldSubscriber broken = new("broken", disposed) { ThrowsWhenDisposed = true }, sound = new("sound", disposed);
        Watch(broken);
        Watch(sound);
        Interest.Readable.WithFd(pipe.Read).WithHandler((OwnedFd _) => { }).OwnedBy(sound).RegisterInto(Reactor);
        Reactor.Dispose();
        Assert.Equal(["broken", "sound"], disposed);
        Assert.Equal("broken", Assert.Single(Failures).Source);
        Assert.False(pipe.IsReadEndOpen);
        Assert.Throws<ObjectDisposedException>(() => Reactor.Add(Interest.None.WithFd(new EventFd()).WithHandler(_ => { })));
    }

    [Fact]
    public void A_subscriber_may_use_its_reactor_while_it_is_disposed_with_it()
    {
        Reactor reactor = Reactor;
        Subscription<EventFd>? late = null;
        Subscriber device = new EndingSubscriber("device", () =>
        {
            late = Interest.None.WithFd(new EventFd()).WithHandler(_ => { }).RegisterInto(reactor);
            Assert.True(reactor.Remove(late));
        });
        Watch(device);
        reactor.Dispose();
        Assert.Empty(Failures);
        Assert.True(late!.Handle.IsClosed);
    }

    [Fact]
    public void What_a_subscriber_registers_while_it_is_disposed_ends_with_its_reactor_too()
    {
        using Pipe late = new(), later = new();
        Reactor reactor = Reactor;
        List<string> disposed = [];
        ToldSubscriber heir = new("heir", disposed);
        Subscriber? device = null;
        device = new EndingSubscriber("device", () =>
        {
            disposed.Add("device");
            Interest.Readable.WithFd(late.Read).WithHandler((OwnedFd _) => { }).OwnedBy(device!).RegisterInto(reactor);
            Interest.Readable.WithFd(later.Read).WithHandler((OwnedFd _) => { }).OwnedBy(heir).RegisterInto(reactor);
        });
        Watch(device);
        reactor.Dispose();
        Assert.Equal(["device", "heir"], disposed);
        Assert.False(late.IsReadEndOpen);
        Assert.False(later.IsReadEndOpen);
        Assert.Empty(Failures);
    }

    [Fact]
    public void Taking_a_reactor_apart_leaves_its_subscribers_to_the_caller()
    {
        List<string> disposed = [];
        ToldSubscriber device = new("vda", disposed);
        Subscription<EventFd> source = Watch(device);
        Assert.Same(source, Assert.Single(Reactor.TakeApart()));
        Assert.Empty(disposed);
        source.Handle.Dispose();
    }

    private sealed class EndingSubscriber(string name, Action ending) : Subscriber(name)
    {
        protected override void Dispose(bool disposing)
        {
            ending();
            base.Dispose(disposing);
        }
    }

    private sealed class ToldSubscriber(string name, List<string> disposed) : Subscriber(name)
    {
        internal bool ThrowsWhenDisposed { get; init; }

        protected override void Dispose(bool disposing)
        {
            disposed.Add(Name);
            base.Dispose(disposing);
            if (ThrowsWhenDisposed) throw new InvalidOperationException("cannot be disposed");
        }
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
