using System.Net.Sockets;
using Vmm.Devices.Simulation;
using static Vmm.Devices.Tests.VsockGuest;

namespace Vmm.Devices.Tests;

/// <summary>Who waits for whom: credit, buffers, slow hosts and slow guests, limits, turns (virtio 1.2 § 5.10.6.3).</summary>
public sealed class VsockFlowTests
{
    /// <summary>More than a Unix socket's own buffer and the device's credit together.</summary>
    private const int Much = 1 << 20;

    [Theory]
    [InlineData(0, 1000)]
    [InlineData(0, 60_000)]
    [InlineData(VirtioFeatures.PackedRing, 9000)]
    public void A_host_that_does_not_read_uses_up_the_guests_credit_and_nothing_is_lost(ulong ring, int packetBytes)
    {
        using VsockGuest guest = new(ring | VirtioFeatures.IndirectDescriptors);
        using Socket listener = guest.Listen(PortOfHost);
        guest.Send(VsockOperation.Request, PortOfGuest, PortOfHost);
        VsockSender sender = new(guest, guest.Expect(VsockOperation.Response, PortOfGuest, PortOfHost), Much);
        using Socket host = listener.Accept();
        while (sender.TrySend(packetBytes)) sender.TakeCredit();
        Assert.True(sender.Sent < Much, "the guest was never stopped");
        Assert.True(sender.Credit == 0, $"{sender.Credit} bytes of credit are left, and the host took nothing");

        // Another connection is not held up by it, either way.
        using Socket other = guest.Open(listener, PortOfGuest + 1, PortOfHost);
        guest.Send(VsockOperation.Data, PortOfGuest + 1, PortOfHost, "through"u8.ToArray());
        Assert.Equal(7, other.Receive(new byte[16]));

        MemoryStream got = new();
        byte[] buffer = new byte[1 << 16];
        guest.Guest.RunUntil(() =>
        {
            while (host.Poll(0, SelectMode.SelectRead)) got.Write(buffer, 0, host.Receive(buffer));
            sender.TakeCredit();
            while (sender.TrySend(packetBytes))
            {
            }
            return got.Length == Much;
        });
        Assert.Equal(sender.Content, got.ToArray());
        guest.Guest.RunUntil(() => guest.Guest.Queue(1).InFlight == 0);
    }

    [Theory]
    [InlineData(0, 0)]
    [InlineData(0, 65_536)]
    [InlineData(0, 131_072)]
    [InlineData(0, 196_608)]
    [InlineData(VirtioFeatures.PackedRing, 131_072)]
    public void A_transmit_queue_that_is_reset_while_the_host_does_not_read_loses_nothing(ulong ring, int readBefore)
    {
        using VsockGuest guest = new(ring | VirtioFeatures.RingReset);
        using Socket listener = guest.Listen(PortOfHost);
        guest.Send(VsockOperation.Request, PortOfGuest, PortOfHost);
        VsockSender sender = new(guest, guest.Expect(VsockOperation.Response, PortOfGuest, PortOfHost), Much);
        using Socket host = listener.Accept();
        while (sender.TrySend(60_000)) sender.TakeCredit();
        MemoryStream got = new();
        byte[] buffer = new byte[1 << 16];
        // The host's socket then has room for a part of what waits, also of a packet.
        while (got.Length < readBefore)
        {
            got.Write(buffer, 0, host.Receive(buffer));
            guest.Guest.RunUntilIdle();
        }
        Assert.NotEqual(0, guest.Guest.Queue(1).InFlight);
        guest.Guest.Driver.ResetQueue(1);
        guest.Guest.RunUntil(() => !guest.Guest.Driver.IsQueueReady(1));
        guest.Guest.SetUpQueue(1);
        guest.Guest.RunUntilIdle();
        sender.TrySend(5);
        guest.Guest.RunUntil(() =>
        {
            while (host.Poll(0, SelectMode.SelectRead)) got.Write(buffer, 0, host.Receive(buffer));
            return got.Length == sender.Sent;
        });
        Assert.Equal(sender.Content[..sender.Sent], got.ToArray());
    }

    [Theory]
    [InlineData(0)]
    [InlineData(VirtioFeatures.PackedRing)]
    public void A_guest_without_buffers_holds_the_host_and_nothing_spins_or_is_lost(ulong ring)
    {
        using VsockGuest guest = new(ring, buffers: 1, bufferBytes: 1000);
        using Socket listener = guest.Listen(PortOfHost);
        guest.Send(VsockOperation.Request, PortOfGuest, PortOfHost);
        Assert.Equal(VsockOperation.Response, guest.Receive(refill: false).Operation);
        using Socket host = listener.Accept();
        byte[] content = BlockGuest.Pattern(200_000);
        host.Blocking = false;
        int given = host.Send(content);
        guest.Guest.RunUntilIdle();
        long events = guest.Guest.Reactor.Statistics.Events;
        for (int i = 0; i < 10; i++) guest.Guest.Reactor.RunOnce(TimeSpan.FromMilliseconds(2));
        Assert.Equal(events, guest.Guest.Reactor.Statistics.Events);

        MemoryStream got = new();
        guest.GiveBuffers(8);
        uint forwarded = 0;
        while (got.Length < given)
        {
            VsockPacket packet = guest.Receive();
            if (packet.Operation == VsockOperation.Data) got.Write(packet.Payload);
            forwarded = (uint)got.Length;
            guest.Send(VsockOperation.CreditUpdate, PortOfGuest, PortOfHost, forwarded: forwarded);
            if (given < content.Length && host.Poll(0, SelectMode.SelectWrite)) given += host.Send(content.AsSpan(given));
        }
        Assert.Equal(content[..given], got.ToArray());
    }

    [Fact]
    public void No_more_goes_to_the_guest_than_it_has_credit_for_and_it_is_asked_once_for_more()
    {
        using VsockGuest guest = new(buffers: 64);
        using Socket listener = guest.Listen(PortOfHost);
        using Socket host = guest.Open(listener, PortOfGuest, PortOfHost);
        host.Send(new byte[100_000]);
        List<VsockPacket> packets = guest.ReceiveAll();
        Assert.Equal(VsockGuest.Buffer, packets.Sum(packet => packet.Header.Length));
        Assert.Single(packets, packet => packet.Operation == VsockOperation.CreditRequest);
        guest.Send(VsockOperation.CreditUpdate, PortOfGuest, PortOfHost, forwarded: 0);
        Assert.Empty(guest.ReceiveAll());
        guest.Send(VsockOperation.CreditUpdate, PortOfGuest, PortOfHost, forwarded: 10);
        Assert.Equal(10, guest.ReceiveAll().Sum(packet => packet.Header.Length));
    }

    [Fact]
    public void A_guest_that_asks_is_told_its_credit()
    {
        using VsockGuest guest = new();
        using Socket listener = guest.Listen(PortOfHost);
        using Socket host = guest.Open(listener, PortOfGuest, PortOfHost);
        guest.Send(VsockOperation.Data, PortOfGuest, PortOfHost, new byte[100]);
        guest.Send(VsockOperation.CreditRequest, PortOfGuest, PortOfHost);
        Assert.Equal(100u, guest.Expect(VsockOperation.CreditUpdate, PortOfGuest, PortOfHost).Header.ForwardedBytes);
    }

    [Fact]
    public void One_connection_too_many_is_reset_and_who_comes_from_the_host_is_closed()
    {
        using VsockGuest guest = new(options: new VsockSpec { ConnectionsMax = 3 });
        using Socket listener = guest.Listen(PortOfHost);
        Socket[] sockets = [.. Enumerable.Range(0, 3).Select(i => guest.Open(listener, PortOfGuest + (uint)i, PortOfHost))];
        guest.Send(VsockOperation.Request, PortOfGuest + 3, PortOfHost);
        guest.Expect(VsockOperation.Reset, PortOfGuest + 3, PortOfHost);
        using Socket host = guest.Connect();
        Assert.Equal(0, host.Receive(new byte[1]));
        guest.Send(VsockOperation.Reset, PortOfGuest, PortOfHost);
        guest.Open(listener, PortOfGuest + 3, PortOfHost).Dispose();
        foreach (Socket socket in sockets) socket.Dispose();
    }

    [Fact]
    public void A_thousand_connections_at_once_each_have_their_bytes_and_less_credit_the_more_there_are()
    {
        const int Count = 1000;
        using VsockGuest guest = new(buffers: 64);
        using Socket listener = guest.Listen(PortOfHost, backlog: 64);
        List<Socket> hosts = [];
        List<uint> credits = [];
        for (uint i = 0; i < Count; i++)
        {
            guest.Send(VsockOperation.Request, i, PortOfHost);
            credits.Add(guest.Expect(VsockOperation.Response, i, PortOfHost).Header.BufferBytes);
            hosts.Add(listener.Accept());
        }
        Assert.Equal((256u * 1024, 16u * 1024), (credits[0], credits[^1]));
        Assert.InRange(credits.Sum(credit => credit), 0, (128 << 20) + Count * 16 * 1024);
        byte[] buffer = new byte[16];
        for (uint i = 0; i < Count; i++) guest.Send(VsockOperation.Data, i, PortOfHost, BitConverter.GetBytes(i));
        for (uint i = 0; i < Count; i++)
        {
            Assert.Equal(sizeof(uint), hosts[(int)i].Receive(buffer));
            Assert.Equal(i, BitConverter.ToUInt32(buffer));
            hosts[(int)i].Send(buffer, sizeof(uint), SocketFlags.None);
        }
        HashSet<uint> heard = [];
        guest.Guest.RunUntil(() =>
        {
            foreach (VsockPacket packet in guest.ReceiveAll())
            {
                if (packet.Operation == VsockOperation.Data && BitConverter.ToUInt32(packet.Payload) == packet.Header.DestinationPort) heard.Add(packet.Header.DestinationPort);
            }
            return heard.Count == Count;
        });
        hosts.ForEach(host => host.Dispose());
    }

    [Fact]
    public void Connections_with_much_to_say_take_turns()
    {
        using VsockGuest guest = new(buffers: 0);
        guest.GiveBuffers(2);
        using Socket listener = guest.Listen(PortOfHost);
        using Socket one = guest.Open(listener, PortOfGuest, PortOfHost);
        using Socket two = guest.Open(listener, PortOfGuest + 1, PortOfHost);
        one.Send(new byte[30_000]);
        two.Send(new byte[30_000]);
        List<uint> turns = [];
        for (int i = 0; i < 8; i++) turns.Add(guest.Receive().Header.DestinationPort);
        Assert.InRange(turns.Count(port => port == PortOfGuest), 2, 6);
    }

    [Fact]
    public void A_packet_either_way_allocates_nothing()
    {
        using VsockGuest guest = new(buffers: 0);
        using Socket listener = guest.Listen(PortOfHost);
        guest.GiveBuffers(4);
        using Socket host = guest.Open(listener, PortOfGuest, PortOfHost);
        SteadyDriver driver = new(guest, PortOfGuest, PortOfHost);
        byte[] buffer = new byte[8192];
        SteadyState.AllocatesNothing(() =>
        {
            for (int i = 0; i < 2000; i++) driver.Echo(host, buffer);
        });
    }
}
