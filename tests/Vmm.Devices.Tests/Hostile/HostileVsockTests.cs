using System.Net.Sockets;
using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests.Hostile;

/// <summary>Packets no driver may send, and programs of the host that behave as badly. What is said of one connection costs that one.</summary>
[Trait("Device", "vsock")]
public sealed class HostileVsockTests
{
    private const uint GuestPort = 40_000;
    private const uint HostPort = 1234;
    private const ulong EndOfMemory = 64 << 20;

    [Theory, InlineData(false), InlineData(true)]
    [Trait("Source", "virtio 1.2 § 5.10.6: a packet that announces more bytes than its chain has, up to 2^32 - 1")]
    [Trait("Outcome", "RST")]
    public void A_length_that_lies_resets_its_connection_alone(bool packed)
    {
        using VsockGuest guest = Guest(packed);
        using Socket listener = guest.Listen(HostPort);
        using Socket neighbour = guest.Open(listener, GuestPort + 1, HostPort);
        foreach (uint length in (uint[])[6, 100, uint.MaxValue, 1u << 31])
        {
            using Socket host = guest.Open(listener, GuestPort, HostPort);
            guest.Send(VsockGuest.Header(VsockOperation.Data, GuestPort, HostPort, length), "hello"u8.ToArray());
            guest.Expect(VsockOperation.Reset, GuestPort, HostPort);
            Assert.Equal(0, host.Receive(new byte[16]));
        }
        Works(guest, neighbour, GuestPort + 1);
    }

    [Theory, InlineData(false), InlineData(true)]
    [Trait("Source", "virtio 1.2 § 5.10.6.3; libkrun and firecracker-microvm/firecracker issue 1751: credit that is not held to overruns a buffer")]
    [Trait("Outcome", "RST")]
    public void Bytes_beyond_the_credit_reset_their_connection_and_nothing_more_is_kept(bool packed)
    {
        using VsockGuest guest = Guest(packed);
        using Socket listener = guest.Listen(HostPort);
        using Socket neighbour = guest.Open(listener, GuestPort + 1, HostPort);
        guest.Send(VsockOperation.Request, GuestPort, HostPort);
        uint credit = guest.Expect(VsockOperation.Response, GuestPort, HostPort).Header.BufferBytes;
        using Socket host = listener.Accept();
        guest.Send(VsockGuest.Header(VsockOperation.Data, GuestPort, HostPort, credit + 1), new byte[credit + 1]);
        guest.Expect(VsockOperation.Reset, GuestPort, HostPort);
        Assert.Equal(1, guest.Device.GuestFaults);
        Works(guest, neighbour, GuestPort + 1);
    }

    [Theory, InlineData(false), InlineData(true)]
    [Trait("Source", "virtio 1.2 § 5.10.6.4: unknown types and operations are answered by RST")]
    [Trait("Outcome", "RST")]
    public void Unknown_operations_and_types_are_reset(bool packed)
    {
        using VsockGuest guest = Guest(packed);
        using Socket listener = guest.Listen(HostPort);
        foreach (int operation in (int[])[0, 8, 9, 255, 65535])
        {
            guest.Send((VsockOperation)operation, GuestPort, HostPort);
            guest.Expect(VsockOperation.Reset, GuestPort, HostPort);
            using Socket host = guest.Open(listener, GuestPort, HostPort);
            guest.Send((VsockOperation)operation, GuestPort, HostPort);
            guest.Expect(VsockOperation.Reset, GuestPort, HostPort);
        }
        foreach (int type in (int[])[0, 3, 65535])
        {
            using Socket host = guest.Open(listener, GuestPort, HostPort);
            guest.Send(VsockOperation.Data, GuestPort, HostPort, [1], type: (VsockType)type);
            guest.Expect(VsockOperation.Reset, GuestPort, HostPort);
        }
        Assert.Equal(0, guest.Device.Connections);
    }

    [Theory, InlineData(false), InlineData(true)]
    [Trait("Source", "virtio 1.2 § 5.10.6.4: packets a connection is in no state for")]
    [Trait("Outcome", "RST")]
    public void Operations_out_of_order_are_reset(bool packed)
    {
        using VsockGuest guest = Guest(packed);
        using Socket listener = guest.Listen(HostPort);
        foreach (VsockOperation operation in (VsockOperation[])[VsockOperation.Request, VsockOperation.Response])
        {
            using Socket host = guest.Open(listener, GuestPort, HostPort);
            guest.Send(operation, GuestPort, HostPort);
            guest.Expect(VsockOperation.Reset, GuestPort, HostPort);
        }
        using (guest.Open(listener, GuestPort, HostPort))
        {
            guest.Send(VsockOperation.Shutdown, GuestPort, HostPort, flags: VsockProtocol.SendsNoMore);
            guest.Send(VsockOperation.Data, GuestPort, HostPort, [1]);
            guest.Expect(VsockOperation.Reset, GuestPort, HostPort);
        }
        using Socket early = guest.Connect("CONNECT 80\n");
        uint port = guest.Receive().Header.SourcePort;
        guest.Send(VsockOperation.Data, 80, port, [1]);
        guest.Expect(VsockOperation.Reset, 80, port);
        Assert.Equal(0, guest.Device.Connections);
    }

    [Theory, InlineData(false), InlineData(true)]
    [Trait("Source", "CVE-2019-18960 (Firecracker: a vsock buffer over the end of a memory region reads and writes the host's heap)")]
    [Trait("Outcome", "needs reset")]
    public void A_packet_over_the_end_of_a_region_is_refused_and_no_byte_of_it_goes_out(bool packed)
    {
        using VsockGuest guest = Guest(packed);
        using Socket listener = guest.Listen(HostPort);
        using Socket host = guest.Open(listener, GuestPort, HostPort);
        byte[] header = VsockGuest.BytesOf(VsockGuest.Header(VsockOperation.Data, GuestPort, HostPort, length: 4096));
        guest.Guest.Queue(1).Add([guest.Guest.Queue(1).Place(header), new GuestBuffer(EndOfMemory - 1024, 4096)], []);
        guest.Guest.Kick(1).RunUntilIdle();
        Assert.True(guest.Guest.Driver.Status.HasFlag(DeviceStatus.NeedsReset));
        Assert.False(host.Poll(0, SelectMode.SelectRead));
    }

    [Theory, InlineData(false), InlineData(true)]
    [Trait("Source", "CVE-2019-18960 (Firecracker), the other direction: a receive buffer over the end of a region")]
    [Trait("Outcome", "needs reset")]
    public void A_receive_buffer_over_the_end_of_a_region_is_refused(bool packed)
    {
        using VsockGuest guest = Guest(packed, buffers: 1);
        using Socket listener = guest.Listen(HostPort);
        guest.Send(VsockOperation.Request, GuestPort, HostPort);
        guest.Receive(refill: false);
        using Socket host = listener.Accept();
        guest.Guest.Queue(0).Add([], [new GuestBuffer(EndOfMemory - 1024, 4096)]);
        host.Send(new byte[8192]);
        guest.Guest.Kick(0).RunUntilIdle();
        Assert.True(guest.Guest.Driver.Status.HasFlag(DeviceStatus.NeedsReset));
    }

    [Theory, InlineData(false), InlineData(true)]
    [Trait("Source", "virtio 1.2 § 2.6.4.1: no assumption on how the driver cuts a packet")]
    [Trait("Outcome", "served")]
    public void A_header_cut_at_every_offset_is_understood(bool packed)
    {
        using VsockGuest guest = Guest(packed);
        using Socket listener = guest.Listen(HostPort);
        using Socket host = guest.Open(listener, GuestPort, HostPort);
        byte[] packet = [.. VsockGuest.BytesOf(VsockGuest.Header(VsockOperation.Data, GuestPort, HostPort, length: 5)), .. "hello"u8];
        byte[] said = new byte[16];
        for (int cut = 1; cut < packet.Length; cut++)
        {
            guest.Guest.Queue(1).Add(cut < 2 ? [packet[..cut], packet[cut..]] : [packet[..1], packet[1..cut], packet[cut..]]);
            guest.Guest.Kick(1).RunUntilIdle();
            Assert.Equal("hello", System.Text.Encoding.ASCII.GetString(said, 0, host.Receive(said)));
        }
    }

    [Theory, InlineData(false), InlineData(true)]
    [Trait("Source", "a forged source context id: known back-ends check it or let a guest speak for another")]
    [Trait("Outcome", "dropped")]
    public void A_packet_from_another_context_id_is_dropped_and_answered_to_nobody(bool packed)
    {
        using VsockGuest guest = Guest(packed);
        using Socket listener = guest.Listen(HostPort);
        using Socket host = guest.Open(listener, GuestPort, HostPort);
        foreach (ulong cid in (ulong[])[0, 1, VsockProtocol.HostCid, 4, (1UL << 32) | VsockGuest.Cid, ulong.MaxValue])
        {
            foreach (VsockOperation operation in Enum.GetValues<VsockOperation>())
                guest.Send(VsockGuest.Header(operation, GuestPort, HostPort) with { SourceCid = cid });
        }
        Assert.Empty(guest.ReceiveAll());
        Assert.Equal(1, guest.Device.Connections);
        Works(guest, host, GuestPort);
        guest.Send(VsockGuest.Header(VsockOperation.Request, GuestPort, HostPort) with { DestinationCid = 7 });
        Assert.Equal((VsockOperation.Reset, 7ul), (guest.Receive() is { } answer ? answer.Operation : default, answer.Header.SourceCid));
    }

    [Theory, InlineData(false), InlineData(true)]
    [Trait("Source", "buf_alloc and fwd_cnt that lie; gramineproject/gramine-tdx pull 25: a forwarded count ahead of what was sent wrapped the credit before Linux 6.7")]
    [Trait("Outcome", "the connection stands still")]
    public void Counts_that_lie_cost_the_guest_its_own_bytes_only(bool packed)
    {
        using VsockGuest guest = Guest(packed, buffers: 64);
        using Socket listener = guest.Listen(HostPort);
        using Socket host = guest.Open(listener, GuestPort, HostPort);
        host.Send(new byte[1000]);
        Assert.Equal(1000, guest.ReceiveAll().Sum(packet => packet.Header.Length));
        // More passed on than there was: taken for no room at all.
        foreach (uint forwarded in (uint[])[1001, 1u << 31, uint.MaxValue])
        {
            guest.Send(VsockGuest.Header(VsockOperation.CreditUpdate, GuestPort, HostPort, forwarded: forwarded, buffer: 500));
            host.Send(new byte[10]);
            Assert.Empty(guest.ReceiveAll());
        }
        // All the room there can be: bounded by the buffers there are.
        guest.Send(VsockGuest.Header(VsockOperation.CreditUpdate, GuestPort, HostPort, forwarded: 1000, buffer: uint.MaxValue));
        Assert.Equal(30, guest.ReceiveAll().Sum(packet => packet.Header.Length));
        guest.Send(VsockGuest.Header(VsockOperation.CreditUpdate, GuestPort, HostPort, forwarded: 1030, buffer: 0));
        host.Send(new byte[10]);
        Assert.Empty(guest.ReceiveAll());
        Assert.Equal(1, guest.Device.Connections);
    }

    private static VsockGuest Guest(bool packed, int buffers = 32, VsockDeviceOptions? options = null) =>
        new(packed ? VirtioFeatures.PackedRing | VirtioFeatures.EventIndex : VirtioFeatures.IndirectDescriptors, buffers, options: options);

    private static void Works(VsockGuest guest, Socket host, uint guestPort)
    {
        guest.Send(VsockOperation.Data, guestPort, HostPort, "well"u8.ToArray());
        byte[] said = new byte[16];
        Assert.Equal("well", System.Text.Encoding.ASCII.GetString(said, 0, host.Receive(said)));
        Assert.False(guest.Guest.Driver.Status.HasFlag(DeviceStatus.NeedsReset));
    }
}
