using System.Net.Sockets;
using Vmm.Devices.Simulation;
using static Vmm.Devices.Tests.VsockGuest;

namespace Vmm.Devices.Tests.Hostile;

/// <summary>Packets no driver may send, and programs of the host that behave as badly. What is said of one connection costs that one.</summary>
[Trait("Device", "vsock")]
public sealed class HostileVsockTests
{
    private const ulong EndOfMemory = HostileGuest.MemoryBytes;

    public static TheoryData<HostileCase> Cases => HostileCase.Of("vsock");

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "virtio 1.2 § 5.10.6: a packet that announces more bytes than its chain has, up to 2^32 - 1")]
    [Trait("Outcome", "RST")]
    public void A_length_that_lies_resets_its_connection_alone(HostileCase @case)
    {
        using VsockGuest guest = @case.Vsock();
        using Neighbour neighbour = new(guest.Guest);
        using Socket listener = guest.Listen(PortOfHost);
        using Socket other = guest.Open(listener, PortOfGuest + 1, PortOfHost);
        foreach (uint length in (uint[])[6, 100, uint.MaxValue, 1u << 31])
        {
            using Socket host = guest.Open(listener, PortOfGuest, PortOfHost);
            guest.Send(VsockGuest.Header(VsockOperation.Data, PortOfGuest, PortOfHost, length), "hello"u8.ToArray());
            guest.Expect(VsockOperation.Reset, PortOfGuest, PortOfHost);
            Assert.Equal(0, host.Receive(new byte[16]));
        }
        Works(guest, other, PortOfGuest + 1);
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "virtio 1.2 § 5.10.6.3; libkrun and firecracker-microvm/firecracker issue 1751: credit that is not held to overruns a buffer")]
    [Trait("Outcome", "RST")]
    public void Bytes_beyond_the_credit_reset_their_connection_and_nothing_more_is_kept(HostileCase @case)
    {
        using VsockGuest guest = @case.Vsock();
        using Neighbour neighbour = new(guest.Guest);
        using Socket listener = guest.Listen(PortOfHost);
        using Socket other = guest.Open(listener, PortOfGuest + 1, PortOfHost);
        guest.Send(VsockOperation.Request, PortOfGuest, PortOfHost);
        uint credit = guest.Expect(VsockOperation.Response, PortOfGuest, PortOfHost).Header.BufferBytes;
        using Socket host = listener.Accept();
        guest.Send(VsockGuest.Header(VsockOperation.Data, PortOfGuest, PortOfHost, credit + 1), new byte[credit + 1]);
        guest.Expect(VsockOperation.Reset, PortOfGuest, PortOfHost);
        Assert.Equal(1, guest.Device.GuestFaults);
        Works(guest, other, PortOfGuest + 1);
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "virtio 1.2 § 5.10.6.4: unknown types and operations are answered by RST")]
    [Trait("Outcome", "RST")]
    public void Unknown_operations_and_types_are_reset(HostileCase @case)
    {
        using VsockGuest guest = @case.Vsock();
        using Neighbour neighbour = new(guest.Guest);
        using Socket listener = guest.Listen(PortOfHost);
        foreach (int operation in (int[])[0, 8, 9, 255, 65535])
        {
            guest.Send((VsockOperation)operation, PortOfGuest, PortOfHost);
            guest.Expect(VsockOperation.Reset, PortOfGuest, PortOfHost);
            using Socket host = guest.Open(listener, PortOfGuest, PortOfHost);
            guest.Send((VsockOperation)operation, PortOfGuest, PortOfHost);
            guest.Expect(VsockOperation.Reset, PortOfGuest, PortOfHost);
        }
        foreach (int type in (int[])[0, 3, 65535])
        {
            using Socket host = guest.Open(listener, PortOfGuest, PortOfHost);
            guest.Send(VsockOperation.Data, PortOfGuest, PortOfHost, [1], type: (VsockType)type);
            guest.Expect(VsockOperation.Reset, PortOfGuest, PortOfHost);
        }
        Assert.Equal(0, guest.Device.Connections);
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "virtio 1.2 § 5.10.6.4: ports without a listener, and packets of connections that never were")]
    [Trait("Outcome", "RST")]
    public void Ports_without_a_listener_are_reset(HostileCase @case)
    {
        using VsockGuest guest = @case.Vsock();
        using Neighbour neighbour = new(guest.Guest);
        using Socket listener = guest.Listen(PortOfHost);
        using Socket host = guest.Open(listener, PortOfGuest, PortOfHost);
        foreach (uint port in (uint[])[0, 1, PortOfHost + 1, 0x7fff_ffff, 0x8000_0000, uint.MaxValue])
        {
            foreach (VsockOperation operation in Enum.GetValues<VsockOperation>())
            {
                guest.Send(operation, PortOfGuest, port);
                // A reset is not answered: two ends could do that for ever.
                if (operation != VsockOperation.Reset) guest.Expect(VsockOperation.Reset, PortOfGuest, port);
            }
        }
        Assert.Empty(guest.ReceiveAll());
        Assert.Equal(1, guest.Device.Connections);
        Works(guest, host, PortOfGuest);
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "virtio 1.2 § 5.10.6.4: packets a connection is in no state for")]
    [Trait("Outcome", "RST")]
    public void Operations_out_of_order_are_reset(HostileCase @case)
    {
        using VsockGuest guest = @case.Vsock();
        using Neighbour neighbour = new(guest.Guest);
        using Socket listener = guest.Listen(PortOfHost);
        foreach (VsockOperation operation in (VsockOperation[])[VsockOperation.Request, VsockOperation.Response])
        {
            using Socket host = guest.Open(listener, PortOfGuest, PortOfHost);
            guest.Send(operation, PortOfGuest, PortOfHost);
            guest.Expect(VsockOperation.Reset, PortOfGuest, PortOfHost);
        }
        using (guest.Open(listener, PortOfGuest, PortOfHost))
        {
            guest.Send(VsockOperation.Shutdown, PortOfGuest, PortOfHost, flags: VsockProtocol.SendsNoMore);
            guest.Send(VsockOperation.Data, PortOfGuest, PortOfHost, [1]);
            guest.Expect(VsockOperation.Reset, PortOfGuest, PortOfHost);
        }
        using Socket early = guest.Connect("CONNECT 80\n");
        uint port = guest.Receive().Header.SourcePort;
        guest.Send(VsockOperation.Data, 80, port, [1]);
        guest.Expect(VsockOperation.Reset, 80, port);
        Assert.Equal(0, guest.Device.Connections);
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "CVE-2019-18960 (Firecracker: a vsock buffer over the end of a memory region reads and writes the host's heap)")]
    [Trait("Outcome", "needs reset")]
    public void A_packet_over_the_end_of_a_region_is_refused_and_no_byte_of_it_goes_out(HostileCase @case)
    {
        using VsockGuest guest = @case.Vsock();
        using Neighbour neighbour = new(guest.Guest);
        using Socket listener = guest.Listen(PortOfHost);
        using Socket host = guest.Open(listener, PortOfGuest, PortOfHost);
        byte[] header = VsockGuest.BytesOf(VsockGuest.Header(VsockOperation.Data, PortOfGuest, PortOfHost, length: 4096));
        guest.Guest.Queue(1).Add([guest.Guest.Queue(1).Place(header), new GuestBuffer(EndOfMemory - 1024, 4096)], []);
        guest.Guest.Kick(1).RunUntilIdle();
        Assert.True(guest.Guest.Driver.Status.HasFlag(DeviceStatus.NeedsReset));
        Assert.False(host.Poll(0, SelectMode.SelectRead));
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "CVE-2019-18960 (Firecracker), the other direction: a receive buffer over the end of a region")]
    [Trait("Outcome", "needs reset")]
    public void A_receive_buffer_over_the_end_of_a_region_is_refused(HostileCase @case)
    {
        using VsockGuest guest = @case.Vsock(buffers: 1);
        using Neighbour neighbour = new(guest.Guest);
        using Socket listener = guest.Listen(PortOfHost);
        guest.Send(VsockOperation.Request, PortOfGuest, PortOfHost);
        guest.Receive(refill: false);
        using Socket host = listener.Accept();
        guest.Guest.Queue(0).Add([], [new GuestBuffer(EndOfMemory - 1024, 4096)]);
        host.Send(new byte[8192]);
        guest.Guest.Kick(0).RunUntilIdle();
        Assert.True(guest.Guest.Driver.Status.HasFlag(DeviceStatus.NeedsReset));
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "virtio 1.2 § 2.6.4.1: no assumption on how the driver cuts a packet")]
    [Trait("Outcome", "served")]
    public void A_header_cut_at_every_offset_is_understood(HostileCase @case)
    {
        using VsockGuest guest = @case.Vsock();
        using Neighbour neighbour = new(guest.Guest);
        using Socket listener = guest.Listen(PortOfHost);
        using Socket host = guest.Open(listener, PortOfGuest, PortOfHost);
        byte[] packet = [.. VsockGuest.BytesOf(VsockGuest.Header(VsockOperation.Data, PortOfGuest, PortOfHost, length: 5)), .. "hello"u8];
        byte[] said = new byte[16];
        for (int cut = 1; cut < packet.Length; cut++)
        {
            guest.Guest.Queue(1).Add(cut < 2 ? [packet[..cut], packet[cut..]] : [packet[..1], packet[1..cut], packet[cut..]]);
            guest.Guest.Kick(1).RunUntilIdle();
            Assert.Equal("hello", System.Text.Encoding.ASCII.GetString(said, 0, host.Receive(said)));
        }
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "a forged source context id: known back-ends check it or let a guest speak for another")]
    [Trait("Outcome", "dropped")]
    public void A_packet_from_another_context_id_is_dropped_and_not_answered(HostileCase @case)
    {
        using VsockGuest guest = @case.Vsock();
        using Neighbour neighbour = new(guest.Guest);
        using Socket listener = guest.Listen(PortOfHost);
        using Socket host = guest.Open(listener, PortOfGuest, PortOfHost);
        foreach (ulong cid in (ulong[])[0, 1, VsockProtocol.HostCid, 4, (1UL << 32) | VsockGuest.Cid, ulong.MaxValue])
        {
            foreach (VsockOperation operation in Enum.GetValues<VsockOperation>())
                guest.Send(VsockGuest.Header(operation, PortOfGuest, PortOfHost) with { SourceCid = cid });
        }
        Assert.Empty(guest.ReceiveAll());
        Assert.Equal(1, guest.Device.Connections);
        Works(guest, host, PortOfGuest);
        guest.Send(VsockGuest.Header(VsockOperation.Request, PortOfGuest, PortOfHost) with { DestinationCid = 7 });
        Assert.Equal((VsockOperation.Reset, 7ul), (guest.Receive() is { } answer ? answer.Operation : default, answer.Header.SourceCid));
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "buf_alloc and fwd_cnt that lie; gramineproject/gramine-tdx pull 25: a forwarded count ahead of what was sent wrapped the credit before Linux 6.7")]
    [Trait("Outcome", "the connection stands still")]
    public void Counts_that_lie_cost_the_guest_its_own_bytes_only(HostileCase @case)
    {
        using VsockGuest guest = @case.Vsock(buffers: 64);
        using Neighbour neighbour = new(guest.Guest);
        using Socket listener = guest.Listen(PortOfHost);
        using Socket host = guest.Open(listener, PortOfGuest, PortOfHost);
        host.Send(new byte[1000]);
        Assert.Equal(1000, guest.ReceiveAll().Sum(packet => packet.Header.Length));
        // More passed on than there was: taken for no room at all.
        foreach (uint forwarded in (uint[])[1001, 1u << 31, uint.MaxValue])
        {
            guest.Send(VsockGuest.Header(VsockOperation.CreditUpdate, PortOfGuest, PortOfHost, forwarded: forwarded, buffer: 500));
            host.Send(new byte[10]);
            Assert.Empty(guest.ReceiveAll());
        }
        // All the room there can be: bounded by the buffers there are.
        guest.Send(VsockGuest.Header(VsockOperation.CreditUpdate, PortOfGuest, PortOfHost, forwarded: 1000, buffer: uint.MaxValue));
        Assert.Equal(30, guest.ReceiveAll().Sum(packet => packet.Header.Length));
        guest.Send(VsockGuest.Header(VsockOperation.CreditUpdate, PortOfGuest, PortOfHost, forwarded: 1030, buffer: 0));
        host.Send(new byte[10]);
        Assert.Empty(guest.ReceiveAll());
        Assert.Equal(1, guest.Device.Connections);
    }

    private static void Works(VsockGuest guest, Socket host, uint guestPort)
    {
        guest.Send(VsockOperation.Data, guestPort, PortOfHost, "well"u8.ToArray());
        byte[] said = new byte[16];
        Assert.Equal("well", System.Text.Encoding.ASCII.GetString(said, 0, host.Receive(said)));
        Assert.False(guest.Guest.Driver.Status.HasFlag(DeviceStatus.NeedsReset));
    }
}
