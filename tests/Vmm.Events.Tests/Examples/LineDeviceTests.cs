using Moq;
using Vmm.Events.Tests.Support;
using Vmm.Examples.FourEventDevice;

namespace Vmm.Events.Tests.Examples;

/// <summary>The device of the documentation, its handlers called with a mocked reactor and by a real one.</summary>
public sealed class LineDeviceTests : ReactorSuite
{
    private readonly LineDevice _device = new();

    [Fact]
    public void Activation_asks_the_reactor_to_watch_three_more_events()
    {
        Mock<IReactor> reactor = new(MockBehavior.Strict);
        reactor.Setup(each => each.Add(It.IsAny<Subscription>())).Callback((Subscription added) => added.Handle.Dispose());
        _device.OnActivate(reactor.Object);
        reactor.Verify(each => each.Add(It.Is<Subscription>(added => added.Owner == _device)), Times.Exactly(3));
    }

    [Fact]
    public void Nothing_but_the_activation_is_heard_before_it()
    {
        _device.RegisterInto(Reactor);
        _device.ToDevice.Enqueue(1);
        _device.TransmitEvent.Signal();
        Assert.Equal(0, Turn());
        Assert.Single(_device.Subscriptions);
    }

    [Fact]
    public void What_was_rung_before_the_activation_is_heard_after_it()
    {
        _device.RegisterInto(Reactor);
        _device.ToDevice.Enqueue(7);
        _device.TransmitEvent.Signal();
        _device.ActivateEvent.Signal();
        Turn();
        Assert.Equal(3, _device.Subscriptions.Count);
        Turn();
        _device.ReceiveEvent.Signal();
        Turn();
        Assert.Equal([(byte)7], _device.ToDriver.ToArray());
    }

    [Fact]
    public void The_line_holds_so_much_and_counts_what_it_loses()
    {
        _device.RegisterInto(Reactor);
        _device.ActivateEvent.Signal();
        Turn();
        for (int i = 0; i < LineDevice.LineBytesMax + 10; i++) _device.ToDevice.Enqueue((byte)i);
        _device.TransmitEvent.Signal();
        while (Turn() > 0)
        {
        }
        Assert.Equal(10, _device.LostBytes);
        _device.ReceiveEvent.Signal();
        Turn();
        Assert.Equal(LineDevice.LineBytesMax, _device.ToDriver.Count);
    }

    [Fact]
    public void A_reset_forgets_the_line_and_waits_for_the_next_activation()
    {
        _device.RegisterInto(Reactor);
        for (int round = 0; round < 3; round++)
        {
            _device.ActivateEvent.Signal();
            Turn();
            _device.ToDevice.Enqueue(1);
            _device.TransmitEvent.Signal();
            Turn();
            _device.ResetEvent.Signal();
            Turn();
            Assert.Single(_device.Subscriptions);
        }
        _device.ActivateEvent.Signal();
        while (Turn() > 0)
        {
        }
        _device.ReceiveEvent.Signal();
        Turn();
        Assert.Empty(_device.ToDriver);
        Assert.Empty(Failures);
    }

    [Fact]
    public void Each_event_reaches_its_own_handler_when_all_ring_at_once()
    {
        _device.RegisterInto(Reactor);
        _device.ActivateEvent.Signal();
        Turn();
        _device.ToDevice.Enqueue(9);
        _device.TransmitEvent.Signal();
        _device.ReceiveEvent.Signal();
        Assert.InRange(Reactor.RunOnce(Patience), 2, 3);
        Assert.Equal([(byte)9], _device.ToDriver.ToArray());
    }

    public override void Dispose()
    {
        base.Dispose();
        _device.Dispose();
    }
}
