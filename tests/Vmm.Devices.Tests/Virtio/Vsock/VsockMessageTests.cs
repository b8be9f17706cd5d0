using System.Net.Sockets;
using System.Text;
using static Vmm.Devices.Tests.VsockGuest;

namespace Vmm.Devices.Tests;

/// <summary>SEQPACKET sockets: messages stay whole (virtio 1.2 § 5.10.6.6).</summary>
public sealed class VsockMessageTests
{
    private const int Much = 2 << 20;
    private const VsockType SeqPacket = VsockType.SeqPacket;

    [Fact]
    public void Messages_of_the_guest_arrive_whole_however_they_are_cut()
    {
        using VsockGuest guest = new();
        using Socket listener = guest.Listen(PortOfHost, SocketType.Seqpacket);
        using Socket host = guest.Open(listener, PortOfGuest, PortOfHost, SeqPacket);
        Say(guest, "one", ends: true);
        Say(guest, "tw", ends: false);
        Say(guest, "", ends: false);
        Say(guest, "o", ends: true);
        Say(guest, "three", ends: true);
        Assert.Equal(["one", "two", "three"], [Hear(host), Hear(host), Hear(host)]);
    }

    [Fact]
    public void Messages_of_the_host_arrive_whole_in_as_many_packets_as_it_takes()
    {
        using VsockGuest guest = new(bufferBytes: 1000);
        using Socket listener = guest.Listen(PortOfHost, SocketType.Seqpacket);
        using Socket host = guest.Open(listener, PortOfGuest, PortOfHost, SeqPacket);
        byte[] content = BlockGuest.Pattern(2500);
        host.Send(content);
        host.Send("short"u8);
        List<VsockPacket> packets = guest.ReceiveAll();
        Assert.Equal([0u, 0u, 1u, 1u], packets.Select(packet => packet.Header.Flags));
        Assert.Equal(content, packets.Take(3).SelectMany(packet => packet.Payload));
        Assert.Equal("short", Encoding.ASCII.GetString(packets[3].Payload));
        Assert.All(packets, packet => Assert.Equal(SeqPacket, packet.Header.Type));
    }

    [Fact]
    public void A_host_that_does_not_read_messages_uses_up_the_guests_credit_and_none_is_lost_or_joined()
    {
        using VsockGuest guest = new();
        using Socket listener = guest.Listen(PortOfHost, SocketType.Seqpacket);
        guest.Send(VsockOperation.Request, PortOfGuest, PortOfHost, type: SeqPacket);
        VsockHeader peer = guest.Expect(VsockOperation.Response, PortOfGuest, PortOfHost).Header;
        using Socket host = listener.Accept();
        Random random = new(5);
        List<byte[]> sent = [];
        uint bytes = 0;
        while (bytes < Much)
        {
            byte[] message = new byte[random.Next(1, 20_000)];
            random.NextBytes(message);
            if (bytes - peer.ForwardedBytes + (uint)message.Length > peer.BufferBytes) break;
            sent.Add(message);
            bytes += (uint)message.Length;
            guest.Send(VsockOperation.Data, PortOfGuest, PortOfHost, message[..(message.Length / 2)], type: SeqPacket);
            guest.Send(VsockOperation.Data, PortOfGuest, PortOfHost, message[(message.Length / 2)..], VsockProtocol.EndOfMessage, type: SeqPacket);
            if (guest.ReceiveAll() is [.., VsockPacket last]) peer = last.Header;
        }
        Assert.True(bytes < Much, "the guest was never stopped");
        byte[] buffer = new byte[20_000];
        int next = 0;
        guest.Guest.RunUntil(() =>
        {
            while (host.Poll(0, SelectMode.SelectRead)) Assert.Equal(sent[next++], buffer[..host.Receive(buffer)]);
            return next == sent.Count;
        });
    }

    [Fact]
    public void The_end_of_a_message_socket_is_told_both_ways()
    {
        using VsockGuest guest = new();
        using Socket listener = guest.Listen(PortOfHost, SocketType.Seqpacket);
        Socket host = guest.Open(listener, PortOfGuest, PortOfHost, SeqPacket);
        Say(guest, "incomplete", ends: false);
        guest.Send(VsockOperation.Shutdown, PortOfGuest, PortOfHost, flags: VsockProtocol.SendsNoMore, type: SeqPacket);
        Assert.Equal(0, host.Receive(new byte[16]));
        host.Dispose();
        Assert.Equal(VsockProtocol.BothWays, guest.Expect(VsockOperation.Shutdown, PortOfGuest, PortOfHost).Header.Flags);
    }

    [Fact]
    public void A_socket_of_the_other_kind_or_a_feature_that_was_not_taken_is_refused()
    {
        using VsockGuest guest = new();
        using Socket stream = guest.Listen(PortOfHost);
        guest.Send(VsockOperation.Request, PortOfGuest, PortOfHost, type: SeqPacket);
        guest.Expect(VsockOperation.Reset, PortOfGuest, PortOfHost);
        using Socket messages = guest.Listen(PortOfHost + 1, SocketType.Seqpacket);
        guest.Send(VsockOperation.Request, PortOfGuest, PortOfHost + 1);
        guest.Expect(VsockOperation.Reset, PortOfGuest, PortOfHost + 1);
        guest.Send(VsockOperation.Request, PortOfGuest, PortOfHost + 1, type: (VsockType)3);
        Assert.Equal((VsockType)3, guest.Expect(VsockOperation.Reset, PortOfGuest, PortOfHost + 1).Header.Type);

        using VsockGuest poor = new(features: VsockProtocol.FeatureStream);
        using Socket listener = poor.Listen(PortOfHost, SocketType.Seqpacket);
        poor.Send(VsockOperation.Request, PortOfGuest, PortOfHost, type: SeqPacket);
        poor.Expect(VsockOperation.Reset, PortOfGuest, PortOfHost);
    }

    private static void Say(VsockGuest guest, string words, bool ends) =>
        guest.Send(VsockOperation.Data, PortOfGuest, PortOfHost, Encoding.ASCII.GetBytes(words), ends ? VsockProtocol.EndOfMessage : 0, type: SeqPacket);

    private static string Hear(Socket host)
    {
        byte[] buffer = new byte[64];
        return Encoding.ASCII.GetString(buffer, 0, host.Receive(buffer));
    }
}
