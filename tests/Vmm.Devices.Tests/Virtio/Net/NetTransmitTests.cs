using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests;

/// <summary>Frames of the guest (virtio 1.2 § 5.1.6.2).</summary>
public sealed class NetTransmitTests
{
    private const int Transmit = 1;

    public static TheoryData<ulong> Rings => NetReceiveTests.Rings;

    [Theory]
    [MemberData(nameof(Rings))]
    public void A_frame_goes_out_without_its_header_wherever_it_is_cut(ulong ring)
    {
        using NetCable cable = new();
        using SimulatedGuest guest = Guest(cable, ring | VirtioFeatures.IndirectDescriptors);
        byte[] frame = NetCable.Frame(100), packet = NetCable.Packet(frame);
        for (int cut = 1; cut < packet.Length; cut++)
        {
            DriverRequest request = guest.Queue(Transmit).Add([packet[..cut], packet[cut..]]);
            guest.Kick(Transmit).RunUntil(() => request.IsUsed);
            Assert.Equal(0u, request.UsedLength);
            Assert.Equal(frame, cable.Receive());
        }
    }

    [Fact]
    public void A_batch_of_frames_goes_out_in_order_with_one_interrupt()
    {
        using NetCable cable = new();
        using SimulatedGuest guest = Guest(cable, ulong.MaxValue);
        int before = guest.Interrupts;
        DriverRequest[] requests = [.. Enumerable.Range(0, 8).Select(i => guest.Queue(Transmit).Add([NetCable.Packet(NetCable.Frame(60 + i, i))]))];
        guest.Kick(Transmit).RunUntil(() => requests[7].IsUsed);
        for (int i = 0; i < 8; i++) Assert.Equal(NetCable.Frame(60 + i, i), cable.Receive());
        Assert.Equal(before + 1, guest.Interrupts);
    }

    [Theory]
    [MemberData(nameof(Rings))]
    public void A_network_without_room_holds_the_driver_and_nothing_is_lost(ulong ring)
    {
        using NetCable cable = new();
        using SimulatedGuest guest = Guest(cable, ring | VirtioFeatures.IndirectDescriptors);
        DriverRequest[] requests = [.. Enumerable.Range(0, 200).Select(i => guest.Queue(Transmit).Add([NetCable.Packet(NetCable.Frame(8000, i))]))];
        guest.Kick(Transmit).RunUntilIdle();
        Assert.False(requests[^1].IsUsed);
        int got = 0;
        guest.RunUntil(() =>
        {
            while (cable.Receive() is { } frame) Assert.Equal(NetCable.Frame(8000, got++), frame);
            return got == requests.Length;
        });
        guest.RunUntil(() => requests.All(request => request.IsUsed));
    }

    [Theory]
    [MemberData(nameof(Rings))]
    public void The_driver_gets_buffers_back_while_the_turn_still_sends(ulong ring)
    {
        const int Frames = 100;
        DriverRequest[] requests = [];
        SimulatedGuest? guest = null;
        int back = 0;
        CountingNetwork network = new(1) { OnSend = sent =>
        {
            if (sent < Frames) return;
            guest!.Queue(Transmit).Collect();
            back = requests.Count(request => request.IsUsed);
        } };
        using (guest = SimulatedGuest.For(new NetDevice("net0", network), new SimulatedGuestOptions { Features = ring }))
        {
            requests = [.. Enumerable.Range(0, Frames).Select(i => guest.Queue(Transmit).Add([NetCable.Packet(NetCable.Frame(60, i))]))];
            guest.Kick(Transmit).RunUntil(() => requests[^1].IsUsed);
        }
        Assert.InRange(back, Frames / 2, Frames - 1);
    }

    [Fact]
    public void What_follows_a_packet_that_is_none_stays_the_drivers()
    {
        using NetCable cable = new();
        using SimulatedGuest guest = Guest(cable, ulong.MaxValue);
        byte[] frame = NetCable.Frame(60);
        DriverRequest[] requests = [.. new[] { NetCable.Packet(frame), new byte[11], NetCable.Packet(frame) }
            .Select(packet => guest.Queue(Transmit).Add([packet]))];
        guest.Kick(Transmit).RunUntilIdle();
        Assert.Equal([true, true, false], requests.Select(request => request.IsUsed));
        Assert.Equal(frame, cable.Receive());
        Assert.Null(cable.Receive());
    }

    [Theory]
    [InlineData(1)]
    [InlineData(11)]
    public void A_packet_shorter_than_its_header_is_the_drivers_fault(int length)
    {
        using NetCable cable = new();
        using SimulatedGuest guest = Guest(cable, ulong.MaxValue);
        DriverRequest request = guest.Queue(Transmit).Add([new byte[length]]);
        guest.Kick(Transmit).RunUntilIdle();
        Assert.True(request.IsUsed);
        Assert.True(guest.Driver.Status.HasFlag(DeviceStatus.NeedsReset));
        Assert.Null(cable.Receive());
    }

    [Theory]
    [InlineData(12)]
    [InlineData(70_000)]
    public void An_empty_frame_and_one_no_network_carries_are_dropped(int length)
    {
        using NetCable cable = new();
        NetDevice device = new("net0", cable.Device);
        using SimulatedGuest guest = SimulatedGuest.For(device);
        DriverRequest request = guest.Queue(Transmit).Add([new byte[length]]);
        guest.Kick(Transmit).RunUntilIdle();
        Assert.True(request.IsUsed);
        Assert.False(guest.Driver.Status.HasFlag(DeviceStatus.NeedsReset));
        Assert.Null(cable.Receive());
        Assert.Equal(1, device.Statistics.SendDropped);
    }

    [Fact]
    public void With_the_link_down_frames_go_nowhere_and_the_driver_is_told_5_1_4()
    {
        using NetCable cable = new();
        NetDevice device = new("net0", cable.Device);
        using SimulatedGuest guest = SimulatedGuest.For(device);
        Assert.Equal(1, guest.Driver.ReadConfig<ushort>(6));
        device.IsLinkUp = false;
        guest.RunUntilIdle();
        Assert.Equal((0, 1), (guest.Driver.ReadConfig<ushort>(6), guest.ConfigInterrupts));
        DriverRequest request = guest.Queue(Transmit).Add([NetCable.Packet(NetCable.Frame(60))]);
        guest.Kick(Transmit).RunUntil(() => request.IsUsed);
        Assert.Null(cable.Receive());
        DriverRequest waiting = guest.Queue(0).Add(writable: [1526]);
        cable.TrySend(NetCable.Frame(60));
        guest.Kick(0).RunUntilIdle();
        Assert.False(waiting.IsUsed);
        device.IsLinkUp = true;
        guest.RunUntilIdle();
        Assert.Equal((1, 2), (guest.Driver.ReadConfig<ushort>(6), guest.ConfigInterrupts));
    }

    [Fact]
    public void A_frame_allocates_nothing()
    {
        using NetCable cable = new();
        using SimulatedGuest guest = Guest(cable, ulong.MaxValue);
        SimulatedQueue queue = guest.Queue(Transmit);
        GuestBuffer packet = queue.Place(NetCable.Packet(NetCable.Frame(60)));
        long best = long.MaxValue;
        for (int attempt = 0; attempt < 4 && best > 0; attempt++)
        {
            long before = guest.Reactor.Statistics.AllocatedBytes;
            long ours = 0;
            for (int i = 0; i < 200; i++)
            {
                long add = GC.GetAllocatedBytesForCurrentThread();
                DriverRequest request = queue.Add([packet], []);
                guest.Kick(Transmit);
                ours += GC.GetAllocatedBytesForCurrentThread() - add;
                while (!request.IsUsed)
                {
                    guest.Reactor.RunOnce(TimeSpan.Zero);
                    queue.Collect();
                }
                add = GC.GetAllocatedBytesForCurrentThread();
                cable.Receive();
                ours += GC.GetAllocatedBytesForCurrentThread() - add;
            }
            best = Math.Min(best, guest.Reactor.Statistics.AllocatedBytes - before - ours);
        }
        Assert.Equal(0, best);
    }

    private static SimulatedGuest Guest(NetCable cable, ulong features) =>
        SimulatedGuest.For(new NetDevice("net0", cable.Device), new SimulatedGuestOptions { Features = features });
}
