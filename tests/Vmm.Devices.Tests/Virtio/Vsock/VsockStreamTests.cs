using System.Net.Sockets;
using System.Text;
using Vmm.Devices.Simulation;
using static Vmm.Devices.Tests.VsockGuest;

namespace Vmm.Devices.Tests;

/// <summary>Streams both ways: who connects, what goes through, how it ends (virtio 1.2 § 5.10.6).</summary>
public sealed class VsockStreamTests
{
    [Fact]
    public void The_configuration_is_the_guests_context_id_5_10_4()
    {
        using VsockGuest guest = new();
        Assert.Equal((VsockGuest.Cid, 0u), (guest.Guest.Driver.ReadConfig<uint>(0), guest.Guest.Driver.ReadConfig<uint>(4)));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(VirtioFeatures.PackedRing)]
    public void What_the_guest_writes_reaches_the_program_that_listens_on_the_port_and_back(ulong ring)
    {
        using VsockGuest guest = new(ring);
        using Socket listener = guest.Listen(PortOfHost);
        using Socket host = guest.Open(listener, PortOfGuest, PortOfHost);
        guest.Send(VsockOperation.Data, PortOfGuest, PortOfHost, "hello"u8.ToArray());
        Assert.Equal("hello", Read(host, 5));
        host.Send("good morning"u8);
        Assert.Equal("good morning", Encoding.ASCII.GetString(guest.Expect(VsockOperation.Data, PortOfGuest, PortOfHost).Payload));
    }

    [Fact]
    public void A_port_nobody_listens_on_is_refused()
    {
        using VsockGuest guest = new();
        guest.Send(VsockOperation.Request, PortOfGuest, PortOfHost);
        guest.Expect(VsockOperation.Reset, PortOfGuest, PortOfHost);
        // A program that is gone leaves its socket behind.
        UnixEndpoint.Listen($"{guest.Base}_{PortOfHost}", UnixFileMode.UserWrite).Dispose();
        Assert.True(File.Exists($"{guest.Base}_{PortOfHost}"));
        guest.Send(VsockOperation.Request, PortOfGuest, PortOfHost);
        guest.Expect(VsockOperation.Reset, PortOfGuest, PortOfHost);
        Assert.Equal((0, 0L), (guest.Device.Connections, guest.Device.GuestFaults));
    }

    [Fact]
    public void A_program_with_a_full_backlog_gets_the_connection_when_it_has_room()
    {
        using VsockGuest guest = new();
        using Socket listener = guest.Listen(PortOfHost, backlog: 0);
        for (uint i = 0; i < 4; i++) guest.Send(VsockOperation.Request, PortOfGuest + i, PortOfHost);
        List<Socket> accepted = [];
        int responses = 0;
        guest.Guest.RunUntil(() =>
        {
            if (listener.Poll(0, SelectMode.SelectRead)) accepted.Add(listener.Accept());
            responses += guest.ReceiveAll().Count(packet => packet.Operation == VsockOperation.Response);
            return responses == 4 && accepted.Count == 4;
        });
        accepted.ForEach(socket => socket.Dispose());
    }

    [Fact]
    public void A_program_whose_backlog_stays_full_is_refused_after_a_while()
    {
        using VsockGuest guest = new(options: new VsockSpec { ConnectTimeout = TimeSpan.FromMilliseconds(50) });
        using Socket listener = guest.Listen(PortOfHost, backlog: 0);
        for (uint i = 0; i < 4; i++) guest.Send(VsockOperation.Request, PortOfGuest + i, PortOfHost);
        int resets = 0;
        guest.Guest.RunUntil(() => (resets += guest.ReceiveAll().Count(packet => packet.Operation == VsockOperation.Reset)) >= 2);
        Assert.InRange(guest.Device.Connections, 1, 2);
    }

    [Fact]
    public void Who_connects_to_the_device_names_a_port_and_hears_OK_when_the_guest_accepts()
    {
        using VsockGuest guest = new();
        using Socket host = guest.Connect("CONNECT 80\nearly");
        VsockPacket request = guest.Receive();
        Assert.Equal((VsockOperation.Request, 80u), (request.Operation, request.Header.DestinationPort));
        uint port = request.Header.SourcePort;
        guest.Send(VsockOperation.Response, 80, port);
        Assert.Equal($"OK {port}\n", Read(host, $"OK {port}\n".Length));
        Assert.Equal("early", Encoding.ASCII.GetString(guest.Expect(VsockOperation.Data, 80, port).Payload));
        guest.Send(VsockOperation.Data, 80, port, "late"u8.ToArray());
        Assert.Equal("late", Read(host, 4));
    }

    [Fact]
    public void A_port_of_the_guest_that_it_refuses_closes_the_connection_without_a_word()
    {
        using VsockGuest guest = new();
        using Socket host = guest.Connect("CONNECT 80\n");
        uint port = guest.Receive().Header.SourcePort;
        guest.Send(VsockOperation.Reset, 80, port);
        Assert.Equal(0, host.Receive(new byte[1]));
        Assert.Equal(0, guest.Device.Connections);
    }

    [Fact]
    public void A_guest_that_does_not_answer_is_not_waited_for()
    {
        using VsockGuest guest = new(options: new VsockSpec { ConnectTimeout = TimeSpan.FromMilliseconds(50) });
        using Socket host = guest.Connect("CONNECT 80\n");
        uint port = guest.Receive().Header.SourcePort;
        guest.Expect(VsockOperation.Reset, 80, port);
        Assert.Equal(0, host.Receive(new byte[1]));
        Assert.Equal(0, guest.Device.Connections);
    }

    [Theory]
    [InlineData("CONNECT 80\r\n")]
    [InlineData("CONNECT  80\n")]
    [InlineData("connect 80\n")]
    [InlineData("Connect\t80 \n")]
    [InlineData(" CONNECT 80\n")]
    [InlineData("CONNECT +80\n")]
    [InlineData("CONNECT 080 and more\n")]
    public void A_CONNECT_line_that_Firecracker_takes_is_taken(string words)
    {
        using VsockGuest guest = new();
        using Socket host = guest.Connect(words);
        VsockPacket request = guest.Receive();
        Assert.Equal((VsockOperation.Request, 80u), (request.Operation, request.Header.DestinationPort));
    }

    [Fact]
    public void A_CONNECT_line_may_come_in_pieces()
    {
        using VsockGuest guest = new();
        using Socket host = guest.Connect("CONN");
        host.Send("ECT 8"u8);
        guest.Guest.RunUntilIdle();
        host.Send("0\n"u8);
        Assert.Equal((VsockOperation.Request, 80u), (guest.Receive().Operation, 80u));
    }

    [Fact]
    public void The_guests_end_of_sending_is_the_end_of_the_stream_and_the_host_may_still_send_5_10_6_5()
    {
        using VsockGuest guest = new();
        using Socket listener = guest.Listen(PortOfHost);
        using Socket host = guest.Open(listener, PortOfGuest, PortOfHost);
        guest.Send(VsockOperation.Data, PortOfGuest, PortOfHost, "last"u8.ToArray());
        guest.Send(VsockOperation.Shutdown, PortOfGuest, PortOfHost, flags: VsockProtocol.SendsNoMore);
        Assert.Equal("last", Read(host, 4));
        Assert.Equal(0, host.Receive(new byte[1]));
        host.Send("answer"u8);
        Assert.Equal("answer", Encoding.ASCII.GetString(guest.Expect(VsockOperation.Data, PortOfGuest, PortOfHost).Payload));
        guest.Send(VsockOperation.Shutdown, PortOfGuest, PortOfHost, flags: VsockProtocol.BothWays);
        guest.Expect(VsockOperation.Reset, PortOfGuest, PortOfHost);
        Assert.Equal(0, guest.Device.Connections);
    }

    [Fact]
    public void The_hosts_end_of_sending_is_told_and_the_guest_may_still_send_5_10_6_5()
    {
        using VsockGuest guest = new();
        using Socket listener = guest.Listen(PortOfHost);
        using Socket host = guest.Open(listener, PortOfGuest, PortOfHost);
        host.Send("last"u8);
        host.Shutdown(SocketShutdown.Send);
        Assert.Equal("last", Encoding.ASCII.GetString(guest.Expect(VsockOperation.Data, PortOfGuest, PortOfHost).Payload));
        Assert.Equal(VsockProtocol.SendsNoMore, guest.Expect(VsockOperation.Shutdown, PortOfGuest, PortOfHost).Header.Flags);
        guest.Send(VsockOperation.Data, PortOfGuest, PortOfHost, "answer"u8.ToArray());
        Assert.Equal("answer", Read(host, 6));
        host.Dispose();
        Assert.Equal(VsockProtocol.BothWays, guest.Expect(VsockOperation.Shutdown, PortOfGuest, PortOfHost).Header.Flags);
        guest.Send(VsockOperation.Reset, PortOfGuest, PortOfHost);
        Assert.Equal(0, guest.Device.Connections);
    }

    [Fact]
    public void A_host_that_closes_is_told_as_the_end_of_both_directions_and_what_it_sent_still_arrives()
    {
        using VsockGuest guest = new();
        using Socket listener = guest.Listen(PortOfHost);
        Socket host = guest.Open(listener, PortOfGuest, PortOfHost);
        host.Send("bye"u8);
        host.Dispose();
        Assert.Equal("bye", Encoding.ASCII.GetString(guest.Expect(VsockOperation.Data, PortOfGuest, PortOfHost).Payload));
        Assert.Equal(VsockProtocol.BothWays, guest.Expect(VsockOperation.Shutdown, PortOfGuest, PortOfHost).Header.Flags);
        guest.Send(VsockOperation.Data, PortOfGuest, PortOfHost, "too late"u8.ToArray());
        guest.Expect(VsockOperation.Reset, PortOfGuest, PortOfHost);
    }

    [Fact]
    public void A_host_that_reads_no_more_is_told_and_what_it_says_still_arrives()
    {
        using VsockGuest guest = new();
        using Socket listener = guest.Listen(PortOfHost);
        Socket host = guest.Open(listener, PortOfGuest, PortOfHost);
        host.Shutdown(SocketShutdown.Receive);
        guest.Send(VsockOperation.Data, PortOfGuest, PortOfHost, "for nobody"u8.ToArray());
        Assert.Equal(VsockProtocol.ReceivesNoMore, guest.Expect(VsockOperation.Shutdown, PortOfGuest, PortOfHost).Header.Flags);
        guest.Send(VsockOperation.Data, PortOfGuest, PortOfHost, "on its way"u8.ToArray());
        host.Send("the answer"u8);
        Assert.Equal("the answer", Encoding.ASCII.GetString(guest.Expect(VsockOperation.Data, PortOfGuest, PortOfHost).Payload));
        host.Dispose();
        Assert.Equal(VsockProtocol.BothWays, guest.Expect(VsockOperation.Shutdown, PortOfGuest, PortOfHost).Header.Flags);
    }

    [Fact]
    public void The_guests_RST_ends_the_connection_at_once()
    {
        using VsockGuest guest = new();
        using Socket listener = guest.Listen(PortOfHost);
        using Socket host = guest.Open(listener, PortOfGuest, PortOfHost);
        guest.Send(VsockOperation.Reset, PortOfGuest, PortOfHost);
        Assert.Equal(0, host.Receive(new byte[1]));
        Assert.Equal(0, guest.Device.Connections);
        Assert.Empty(guest.ReceiveAll());
    }

    [Fact]
    public void A_packet_of_a_connection_that_does_not_exist_is_answered_by_RST_and_an_RST_is_not()
    {
        using VsockGuest guest = new();
        guest.Send(VsockOperation.Data, PortOfGuest, PortOfHost, "?"u8.ToArray());
        guest.Expect(VsockOperation.Reset, PortOfGuest, PortOfHost);
        guest.Send(VsockOperation.Reset, PortOfGuest, PortOfHost);
        Assert.Empty(guest.ReceiveAll());
    }

    [Fact]
    public void A_driver_that_goes_takes_its_connections_with_it_and_the_next_one_begins_anew()
    {
        using VsockGuest guest = new();
        using Socket listener = guest.Listen(PortOfHost);
        using Socket host = guest.Open(listener, PortOfGuest, PortOfHost);
        guest.Guest.Reset();
        Assert.Equal(0, host.Receive(new byte[1]));
        Assert.Equal(0, guest.Device.Connections);
        // Who connects meanwhile waits for the next driver.
        using Socket waiting = guest.Connect("CONNECT 80\n");
        guest.Guest.Start();
        DriverRequest buffer = guest.Guest.Queue(0).Add(writable: [4096]);
        guest.Guest.Kick(0).RunUntil(() => buffer.IsUsed);
        Assert.Equal((byte)VsockOperation.Request, buffer.Written[30]);
    }

    [Fact]
    public void A_transport_reset_ends_every_connection_and_is_told_in_the_event_queue_5_10_6_7()
    {
        using VsockGuest guest = new();
        using Socket listener = guest.Listen(PortOfHost);
        using Socket host = guest.Open(listener, PortOfGuest, PortOfHost);
        guest.Device.ResetTransport();
        guest.Expect(VsockOperation.Reset, PortOfGuest, PortOfHost);
        Assert.Equal(0, host.Receive(new byte[1]));
        DriverRequest request = guest.Guest.Queue(2).Add(writable: [4]);
        guest.Guest.Kick(2).RunUntil(() => request.IsUsed);
        Assert.Equal([0, 0, 0, 0], request.Written);
    }

    [Fact]
    public void The_socket_is_the_owners_alone_and_is_gone_with_the_device()
    {
        string path;
        using (VsockGuest guest = new())
        {
            path = guest.Base;
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(path));
            guest.Device.Dispose();
            Assert.False(File.Exists(path));
        }
    }

    [Fact]
    public void What_is_out_of_range_is_refused_with_what_to_do()
    {
        Assert.Contains("give it 3 to", Assert.Throws<ArgumentException>(() => new VsockDevice("v", 2, "/tmp/x")).Message, StringComparison.Ordinal);
        Assert.Contains("at most 96", Assert.Throws<ArgumentException>(() => new VsockDevice("v", 3, "/tmp/" + new string('x', 92))).Message, StringComparison.Ordinal);
    }

    private static string Read(Socket socket, int length)
    {
        byte[] bytes = new byte[length];
        int done = 0;
        while (done < length)
        {
            int now = socket.Receive(bytes, done, length - done, SocketFlags.None);
            Assert.NotEqual(0, now);
            done += now;
        }
        return Encoding.ASCII.GetString(bytes);
    }
}
