using Moq;

namespace Vmm.Events.Tests;

/// <summary>A handler is a method like any other: a test calls it with a mocked reactor and looks at what it asked for.</summary>
public sealed class MockedReactorTests
{
    private readonly Mock<IReactor> _reactor = new(MockBehavior.Strict);

    [Fact]
    public void A_real_handler_asks_the_mocked_reactor_to_watch_the_peer_it_accepted()
    {
        using Gate gate = new(peersMax: 2);
        Subscription? added = null;
        _reactor.Setup(reactor => reactor.Add(It.IsAny<Subscription>())).Callback((Subscription subscription) => added = subscription);
        gate.OnKnock(Readiness.Of(readable: true), _reactor.Object);
        Assert.Equal(Interest.Kick, added!.Interest);
        _reactor.Verify(reactor => reactor.Add(It.IsAny<Subscription>()), Times.Once);
    }

    [Fact]
    public void A_real_handler_that_has_enough_peers_asks_to_hear_no_more()
    {
        using Gate gate = new(peersMax: 1);
        _reactor.Setup(reactor => reactor.Add(It.IsAny<Subscription>()));
        _reactor.Setup(reactor => reactor.Modify(gate.Door, Interest.None));
        gate.OnKnock(Readiness.Of(readable: true), _reactor.Object);
        _reactor.Verify(reactor => reactor.Modify(gate.Door, Interest.None), Times.Once);
    }

    [Fact]
    public void A_real_handler_that_hears_the_hang_up_removes_itself()
    {
        using Gate gate = new(peersMax: 1);
        _reactor.Setup(reactor => reactor.Remove(gate.Door)).Returns(true);
        gate.OnKnock(Readiness.Of(hangUp: true), _reactor.Object);
        _reactor.VerifyAll();
    }

    [Fact]
    public void A_subscriber_removes_each_of_its_sources_from_the_mocked_reactor()
    {
        using Subscriber device = new("device");
        device.Registered(Interest.None.WithFd(new EventFd()).WithHandler(_ => { }));
        device.Registered(Interest.None.WithFd(new EventFd()).WithHandler(_ => { }));
        _reactor.Setup(reactor => reactor.Remove(It.IsAny<Subscription>())).Returns(true);
        Assert.Equal(2, device.RemoveFrom(_reactor.Object));
        _reactor.Verify(reactor => reactor.Remove(It.IsAny<Subscription>()), Times.Exactly(2));
    }

    /// <summary>Lets a bounded number of peers in.</summary>
    private sealed class Gate : IDisposable
    {
        private readonly int _peersMax;
        private int _peers;

        internal Gate(int peersMax)
        {
            _peersMax = peersMax;
            Door = Interest.Readable.WithFd(new EventFd()).WithHandler((_, ready, reactor) => OnKnock(ready, reactor));
        }

        internal Subscription<EventFd> Door { get; }

        internal void OnKnock(Readiness ready, IReactor reactor)
        {
            if (ready.IsHangUp)
            {
                reactor.Remove(Door);
                return;
            }
            Interest.Kick.WithFd(new EventFd()).WithHandler(_ => { }).RegisterInto(reactor);
            if (++_peers == _peersMax) reactor.Modify(Door, Interest.None);
        }

        public void Dispose() => Door.Handle.Dispose();
    }
}
