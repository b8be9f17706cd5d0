using Moq;
using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests;

/// <summary>Handlers that take what they need, as the generator wires them.</summary>
public sealed class OnEventTests : ReactorSuite
{
    [Fact]
    public void A_handler_takes_any_subset_in_any_order()
    {
        Everything device = new();
        EventFd kick = new(initial: 7);
        device.SubscribeKicked(kick, Interest.Readable).RegisterInto(Reactor);
        Turn();
        Assert.Same(kick, device.Fd);
        Assert.Equal(7UL, device.Count);
        Assert.True(device.Ready.IsReadable);
        Assert.Equal(Interest.Readable, device.Interest);
        Assert.Same(Reactor, device.Reactor);
    }

    [Fact]
    public void A_handler_may_take_nothing_at_all()
    {
        Everything device = new();
        device.SubscribeRung(new EventFd(initial: 1), Interest.Kick).RegisterInto(Reactor);
        Turn();
        Assert.Equal(1, device.Rings);
    }

    [Fact]
    public void A_static_handler_needs_no_object()
    {
        EventFd kick = new(initial: 1);
        Everything.SubscribeDrain(kick, Interest.Readable).RegisterInto(Reactor);
        Turn();
        Assert.False(kick.TryRead(out _));
    }

    [Fact]
    public void Handlers_of_generic_and_nested_classes_are_wired_alike()
    {
        Nest<EventFd>.Egg egg = new();
        EventFd kick = new(initial: 1);
        egg.SubscribeHatch(kick, Interest.Kick).RegisterInto(Reactor);
        Turn();
        Assert.Same(kick, egg.Hatched);
    }

    [Fact]
    public void In_a_subscriber_the_subscriptions_belong_to_it_and_bear_its_name()
    {
        NamedDevice device = new("vda");
        Subscription<EventFd> subscription = device.SubscribeKicked(new EventFd(), Interest.Kick).RegisterInto(Reactor);
        Assert.Same(device, subscription.Owner);
        Assert.Equal("vda/Kicked", subscription.Name);
        Assert.Equal(1, device.RemoveFrom(Reactor));
    }

    [Fact]
    public void A_subscription_that_stands_alone_is_named_after_its_handler() =>
        Assert.Equal("Everything.Rung", new Everything().SubscribeRung(new EventFd(), Interest.Kick).Name);

    [Fact]
    public void A_handler_is_a_plain_method_that_a_test_calls_with_a_mocked_reactor()
    {
        Mock<IReactor> reactor = new();
        NamedDevice device = new("vda");
        device.Kicked(new EventFd(), reactor.Object);
        reactor.Verify(mocked => mocked.Add(It.Is<Subscription>(added => added.Interest == Interest.Readable.OneShot)), Times.Once);
    }

    [Fact]
    public void An_event_allocates_nothing()
    {
        Everything device = new();
        EventFd kick = new();
        device.SubscribeRung(kick, Interest.Kick).RegisterInto(Reactor);
        SteadyState.AllocatesNothing(() =>
        {
            for (int i = 0; i < 100; i++)
            {
                kick.Signal();
                Turn();
            }
        });
        Assert.True(device.Rings >= 100);
    }
}

internal sealed partial class Everything
{
    internal EventFd? Fd { get; private set; }

    internal ulong Count { get; private set; }

    internal Readiness Ready { get; private set; }

    internal Interest Interest { get; private set; }

    internal IReactor? Reactor { get; private set; }

    internal int Rings { get; private set; }

    [OnEvent]
    internal void Kicked(IReactor reactor, Interest interest, EventFd fd, Readiness ready)
    {
        fd.TryRead(out ulong count);
        (Fd, Count, Ready, Interest, Reactor) = (fd, count, ready, interest, reactor);
    }

    [OnEvent]
    internal void Rung() => Rings++;

    [OnEvent]
    internal static void Drain(EventFd fd) => fd.TryRead(out _);
}

internal sealed partial class NamedDevice(string name) : Subscriber(name)
{
    [OnEvent]
    internal void Kicked(EventFd kick, IReactor reactor) =>
        reactor.Add(Interest.Readable.OneShot.WithFd(kick.Duplicate()).WithHandler(_ => { }));
}

internal static partial class Nest<TFd> where TFd : OwnedFd
{
    internal sealed partial class Egg
    {
        internal TFd? Hatched { get; private set; }

        [OnEvent]
        internal void Hatch(TFd fd) => Hatched = fd;
    }
}
