using Moq;
using Vmm.Events.Tests.Support;
using Vmm.Examples.Relay;

namespace Vmm.Events.Tests.Examples;

/// <summary>A class whose handlers take what they need: called with mocks, and by a real reactor.</summary>
public sealed class RelayTests : ReactorSuite
{
    [Fact]
    public void A_kick_is_passed_on_as_one_signal_of_a_mocked_call()
    {
        Mock<IEventCounter> call = new(MockBehavior.Strict);
        call.Setup(each => each.Signal(1));
        using KickRelay relay = new(EventFd.Of(call.Object));
        relay.Kicked();
        call.Verify(each => each.Signal(1), Times.Once);
    }

    [Fact]
    public void A_hang_up_removes_both_sources_and_anything_else_none()
    {
        using EventFd call = new();
        KickRelay relay = new(call);
        using SocketPair sockets = new();
        relay.Start(Reactor, new EventFd(), sockets.Watched);
        relay.HungUp(sockets.Watched, Readiness.Of(readHangUp: true), Reactor);
        Assert.Equal(2, relay.Subscriptions.Count);
        Turn();
        sockets.Peer.Dispose();
        while (relay.Subscriptions.Count > 0) Turn();
        Assert.True(sockets.Watched.IsClosed);
    }

    [Fact]
    public void A_relay_that_a_reactor_watches_passes_kicks_on()
    {
        using EventFd call = new();
        EventFd kick = new();
        using SocketPair sockets = new();
        new KickRelay(call).Start(Reactor, kick, sockets.Watched);
        kick.Signal();
        Turn();
        Assert.True(call.TryRead(out ulong calls));
        Assert.Equal(1u, calls);
    }
}
