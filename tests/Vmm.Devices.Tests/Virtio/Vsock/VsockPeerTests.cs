using System.Net.Sockets;
using static Vmm.Devices.Tests.VsockGuest;

namespace Vmm.Devices.Tests;

/// <summary>Connections as an operator sees them, and ends them.</summary>
public sealed class VsockPeerTests
{
    [Fact]
    public void A_connection_is_listed_and_ended_for_both_ends()
    {
        using VsockGuest guest = new();
        Assert.Empty(guest.Device.Peers);
        using Socket listener = guest.Listen(PortOfHost);
        using Socket host = guest.Open(listener, PortOfGuest, PortOfHost);
        using Socket other = guest.Open(listener, PortOfGuest + 1, PortOfHost);
        VsockPeer peer = guest.Device.Peers[0];
        Assert.Equal((PortOfGuest, PortOfHost, "stream", "open"), (peer.GuestPort, peer.HostPort, peer.Type, peer.State));
        Assert.True(peer.CreditBytes > 0);
        Assert.Equal(2, guest.Device.Peers.Count);

        Assert.False(guest.Device.TryDisconnect(PortOfGuest, PortOfHost + 1));
        Assert.True(guest.Device.TryDisconnect(PortOfGuest, PortOfHost));
        guest.Expect(VsockOperation.Reset, PortOfGuest, PortOfHost);
        Assert.Equal(0, host.Receive(new byte[1]));
        Assert.Equal(PortOfGuest + 1, Assert.Single(guest.Device.Peers).GuestPort);
        // The other one is as it was.
        guest.Send(VsockOperation.Data, PortOfGuest + 1, PortOfHost, "still"u8.ToArray());
        guest.Guest.RunUntil(() => other.Available == 5);
        Assert.Equal(0, guest.Device.GuestFaults);
    }
}
