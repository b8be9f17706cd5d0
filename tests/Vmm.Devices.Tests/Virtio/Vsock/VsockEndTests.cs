using System.Net.Sockets;
using Vmm.Devices.Simulation;
using Vmm.Events;
using static Vmm.Devices.Tests.VsockGuest;

namespace Vmm.Devices.Tests;

/// <summary>How connections end when one side does not wait for the other: nothing that was sent in order is lost, and no place is kept for
/// ever.</summary>
public sealed class VsockEndTests
{
    private const int PacketBytes = 10_000;

    public static TheoryData<ulong, SocketType> Kinds => new()
    {
        { 0, SocketType.Stream },
        { VirtioFeatures.PackedRing, SocketType.Stream },
        { 0, SocketType.Seqpacket },
        { VirtioFeatures.PackedRing, SocketType.Seqpacket },
    };

    [Theory, MemberData(nameof(Kinds))]
    public void What_the_guest_sent_before_its_shutdown_reaches_a_program_that_reads_after_the_guests_RST(ulong ring, SocketType kind)
    {
        using VsockGuest guest = new(ring | VsockProtocol.FeatureSeqPacket);
        using Socket listener = guest.Listen(PortOfHost, kind);
        using Socket host = guest.Open(listener, PortOfGuest, PortOfHost, TypeOf(kind));
        byte[] sent = SendMuch(guest, kind);
        guest.Send(VsockOperation.Shutdown, PortOfGuest, PortOfHost, flags: VsockProtocol.BothWays, type: TypeOf(kind));
        // Linux does this 8 seconds later.
        guest.Send(VsockOperation.Reset, PortOfGuest, PortOfHost, type: TypeOf(kind));
        Assert.Equal((0, 1), (guest.Device.Connections, guest.Device.Remainders.Count));
        Assert.Equal(sent, ReadToEnd(guest, host));
        Assert.Equal(0, guest.Device.Remainders.Count);
        Assert.Equal((0, 0), (guest.Device.GuestFaults, guest.Device.HostFaults));
    }

    [Theory, MemberData(nameof(Kinds))]
    public void What_the_guest_sent_before_its_shutdown_reaches_the_program_after_the_guest_was_reset(ulong ring, SocketType kind)
    {
        using VsockGuest guest = new(ring | VsockProtocol.FeatureSeqPacket);
        using Socket listener = guest.Listen(PortOfHost, kind);
        using Socket host = guest.Open(listener, PortOfGuest, PortOfHost, TypeOf(kind));
        byte[] sent = SendMuch(guest, kind);
        guest.Send(VsockOperation.Shutdown, PortOfGuest, PortOfHost, flags: VsockProtocol.SendsNoMore, type: TypeOf(kind));
        guest.Guest.Reset();
        Assert.Equal(sent, ReadToEnd(guest, host));
    }

    [Fact]
    public void An_RST_without_a_shutdown_before_it_drops_what_waits()
    {
        using VsockGuest guest = new();
        using Socket listener = guest.Listen(PortOfHost);
        using Socket host = guest.Open(listener, PortOfGuest, PortOfHost);
        byte[] sent = SendMuch(guest, SocketType.Stream);
        guest.Send(VsockOperation.Reset, PortOfGuest, PortOfHost);
        Assert.Equal(0, guest.Device.Remainders.Count);
        Assert.NotEqual(sent.Length, ReadToEnd(guest, host).Length);
    }

    [Fact]
    public void A_message_that_the_guest_did_not_complete_is_not_delivered()
    {
        using VsockGuest guest = new();
        using Socket listener = guest.Listen(PortOfHost, SocketType.Seqpacket);
        using Socket host = guest.Open(listener, PortOfGuest, PortOfHost, VsockType.SeqPacket);
        byte[] sent = SendMuch(guest, SocketType.Seqpacket);
        guest.Send(VsockOperation.Data, PortOfGuest, PortOfHost, new byte[100], type: VsockType.SeqPacket);
        guest.Send(VsockOperation.Shutdown, PortOfGuest, PortOfHost, flags: VsockProtocol.BothWays, type: VsockType.SeqPacket);
        guest.Send(VsockOperation.Reset, PortOfGuest, PortOfHost, type: VsockType.SeqPacket);
        Assert.Equal(sent, ReadToEnd(guest, host));
    }

    [Fact]
    public void Programs_that_never_read_hold_a_bounded_number_of_ends_and_the_oldest_gives_way()
    {
        using VsockGuest guest = new(options: new VsockSpec { ConnectionsMax = 2 });
        using Socket listener = guest.Listen(PortOfHost);
        List<Socket> hosts = [];
        for (int i = 0; i < 4; i++)
        {
            hosts.Add(guest.Open(listener, PortOfGuest, PortOfHost));
            SendMuch(guest, SocketType.Stream);
            guest.Send(VsockOperation.Shutdown, PortOfGuest, PortOfHost, flags: VsockProtocol.BothWays);
            guest.Send(VsockOperation.Reset, PortOfGuest, PortOfHost);
            guest.ReceiveAll();
        }
        Assert.Equal((2, 2L), (guest.Device.Remainders.Count, guest.Device.HostFaults));
        hosts.ForEach(host => host.Dispose());
        guest.Guest.RunUntil(() => guest.Device.Remainders.Count == 0);
    }

    [Fact]
    public void A_program_that_waits_for_a_guest_without_a_driver_is_closed_in_bounded_time()
    {
        VsockSpec options = new() { DriverTimeout = TimeSpan.FromMilliseconds(100) };
        using VsockGuest guest = new(new SimulatedGuestOptions { Start = false }, buffers: 0, options: options);
        using Socket host = guest.Connect("CONNECT 80\n");
        Assert.True(host.Poll(TimeSpan.FromSeconds(30), SelectMode.SelectRead));
        Assert.ThrowsAny<SocketException>(() => host.Receive(new byte[1]));
    }

    [Fact]
    public void A_program_that_waits_for_a_guest_without_a_driver_reaches_it_when_it_has_one()
    {
        VsockSpec options = new() { DriverTimeout = TimeSpan.FromHours(1) };
        using VsockGuest guest = new(new SimulatedGuestOptions { Start = false }, buffers: 0, options: options);
        using Socket host = guest.Connect("CONNECT 80\n");
        guest.Guest.Start();
        guest.GiveBuffers(1);
        Assert.Equal(VsockOperation.Request, guest.Receive().Operation);
    }

    [Fact]
    public void A_guest_that_does_not_answer_the_hosts_end_is_reset_after_8_seconds()
    {
        ManualClock clock = new();
        using VsockGuest guest = new(new SimulatedGuestOptions { Clock = clock, MemoryBytes = 64 << 20 });
        using Socket listener = guest.Listen(PortOfHost);
        guest.Open(listener, PortOfGuest, PortOfHost).Dispose();
        Assert.Equal(VsockProtocol.BothWays, guest.Expect(VsockOperation.Shutdown, PortOfGuest, PortOfHost).Header.Flags);
        clock.Advance(VsockConnection.CloseTimeout - TimeSpan.FromMilliseconds(1));
        Assert.Empty(guest.ReceiveAll());
        clock.Advance(TimeSpan.FromMilliseconds(1));
        guest.Expect(VsockOperation.Reset, PortOfGuest, PortOfHost);
        Assert.Equal(0, guest.Device.Connections);
    }

    [Fact]
    public void A_table_full_of_connections_that_the_host_closed_has_room_again_after_8_seconds()
    {
        const uint Full = 16;
        ManualClock clock = new();
        using VsockGuest guest = new(
            new SimulatedGuestOptions { Clock = clock, MemoryBytes = 64 << 20 }, options: new VsockSpec { ConnectionsMax = (int)Full });
        using Socket listener = guest.Listen(PortOfHost);
        for (uint i = 0; i < Full; i++)
        {
            guest.Open(listener, PortOfGuest + i, PortOfHost).Dispose();
            guest.Expect(VsockOperation.Shutdown, PortOfGuest + i, PortOfHost);
        }
        guest.Send(Header(VsockOperation.Request, PortOfGuest + Full, PortOfHost, buffer: 1000));
        guest.Expect(VsockOperation.Reset, PortOfGuest + Full, PortOfHost);
        Assert.Equal((int)Full, guest.Device.Connections);
        clock.Advance(VsockConnection.CloseTimeout);
        guest.ReceiveAll();
        Assert.Equal(0, guest.Device.Connections);
        using Socket host = guest.Open(listener, PortOfGuest + Full, PortOfHost);
    }

    [Fact]
    public void A_guest_that_reads_nothing_of_what_a_gone_program_left_is_reset_and_one_that_reads_slowly_is_not()
    {
        ManualClock clock = new();
        using VsockGuest guest = new(new SimulatedGuestOptions { Clock = clock, MemoryBytes = 64 << 20 });
        using Socket listener = guest.Listen(PortOfHost);
        guest.Send(Header(VsockOperation.Request, PortOfGuest, PortOfHost, buffer: 100));
        guest.Expect(VsockOperation.Response, PortOfGuest, PortOfHost);
        Socket host = listener.Accept();
        host.Send(new byte[1000]);
        host.Dispose();
        uint got = (uint)guest.Expect(VsockOperation.Data, PortOfGuest, PortOfHost).Payload.Length;
        guest.Expect(VsockOperation.CreditRequest, PortOfGuest, PortOfHost);
        for (int i = 0; i < 3; i++)
        {
            clock.Advance(VsockConnection.StallTimeout);
            guest.Send(Header(VsockOperation.CreditUpdate, PortOfGuest, PortOfHost, forwarded: got, buffer: 100));
            got += (uint)guest.Expect(VsockOperation.Data, PortOfGuest, PortOfHost).Payload.Length;
            guest.Expect(VsockOperation.CreditRequest, PortOfGuest, PortOfHost);
        }
        clock.Advance(VsockConnection.StallTimeout);
        guest.Guest.RunUntilIdle();
        clock.Advance(VsockConnection.StallTimeout);
        guest.Expect(VsockOperation.Reset, PortOfGuest, PortOfHost);
        Assert.Equal(0, guest.Device.Connections);
    }

    private static VsockType TypeOf(SocketType kind) => kind == SocketType.Stream ? VsockType.Stream : VsockType.SeqPacket;

    /// <summary>Sends until the program's socket is full and much waits in the device.</summary>
    private static byte[] SendMuch(VsockGuest guest, SocketType kind)
    {
        MemoryStream sent = new();
        // Of messages a socket takes more: it is asked for as much room as the guest has credit.
        for (int i = 0; i < (kind == SocketType.Stream ? 30 : 50); i++)
        {
            byte[] packet = new byte[PacketBytes];
            new Random(i).NextBytes(packet);
            guest.Send(VsockOperation.Data, PortOfGuest, PortOfHost, packet, kind == SocketType.Stream ? 0 : VsockProtocol.EndOfMessage, type: TypeOf(kind));
            sent.Write(packet);
        }
        return sent.ToArray();
    }

    private static byte[] ReadToEnd(VsockGuest guest, Socket host)
    {
        MemoryStream got = new();
        byte[] buffer = new byte[PacketBytes];
        host.Blocking = false;
        bool ended = false;
        guest.Guest.RunUntil(() =>
        {
            while (!ended && host.Poll(0, SelectMode.SelectRead))
            {
                int length = host.Receive(buffer);
                got.Write(buffer, 0, length);
                ended = length == 0;
            }
            return ended;
        });
        return got.ToArray();
    }
}
