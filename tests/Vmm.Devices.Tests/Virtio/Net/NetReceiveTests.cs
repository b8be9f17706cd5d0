using System.Buffers.Binary;
using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests;

/// <summary>Frames for the guest (virtio 1.2 § 5.1.6.3, § 5.1.6.4).</summary>
public sealed class NetReceiveTests
{
    private const int Receive = 0;
    private const ulong NotMerged = ~NetProtocol.FeatureMergeReceive;

    public static TheoryData<ulong> Rings => [0, VirtioFeatures.EventIndex, VirtioFeatures.PackedRing, VirtioFeatures.PackedRing | VirtioFeatures.EventIndex];

    [Theory]
    [MemberData(nameof(Rings))]
    public void A_frame_arrives_behind_its_header_with_a_count_of_one(ulong ring)
    {
        using NetCable cable = new();
        using SimulatedGuest guest = Guest(cable, ring);
        DriverRequest request = Offer(guest, 1526);
        byte[] frame = NetCable.Frame(60);
        cable.TrySend(frame);
        guest.RunUntil(() => request.IsUsed);
        Assert.Equal([.. new byte[10], 1, 0, .. frame], request.Written);
    }

    [Theory]
    [InlineData(1, 1, 10, 1514)]
    [InlineData(10, 2, 1514, 1)]
    [InlineData(4, 4, 4, 1514)]
    [InlineData(11, 1, 1, 1514)]
    public void A_header_split_over_several_descriptors_is_one_header(int first, int second, int third, int fourth)
    {
        foreach (ulong features in (ulong[])[ulong.MaxValue, NotMerged, ~VirtioFeatures.PackedRing])
        {
            using NetCable cable = new();
            using SimulatedGuest guest = Guest(cable, features);
            DriverRequest request = Offer(guest, first, second, third, fourth);
            byte[] frame = NetCable.Frame(1000);
            cable.TrySend(frame);
            guest.RunUntil(() => request.IsUsed);
            Assert.Equal([.. new byte[10], 1, 0, .. frame], request.Written);
        }
    }

    [Theory]
    [MemberData(nameof(Rings))]
    public void A_long_frame_is_merged_over_as_many_buffers_as_it_needs_5_1_6_4(ulong ring)
    {
        using NetCable cable = new();
        using SimulatedGuest guest = Guest(cable, ring | VirtioFeatures.IndirectDescriptors | NetProtocol.FeatureMergeReceive);
        // Twice: the second time the device knows how many buffers such a frame takes.
        for (int round = 0; round < 2; round++)
        {
            DriverRequest[] requests = [.. Enumerable.Range(0, 12).Select(_ => Offer(guest, 100, 900))];
            byte[] frame = NetCable.Frame(9000, seed: round);
            cable.TrySend(frame);
            guest.RunUntil(() => requests[9].IsUsed);
            byte[] whole = [.. requests.SelectMany(request => request.Written)];
            Assert.Equal(10, BinaryPrimitives.ReadUInt16LittleEndian(whole.AsSpan(10)));
            Assert.Equal(frame, whole[12..]);
            Assert.Equal([.. Enumerable.Repeat(1000u, 9), 12u], requests.Take(10).Select(request => request.UsedLength));
            // What it did not need comes with the next ones.
            cable.TrySend(NetCable.Frame(100));
            cable.TrySend(NetCable.Frame(100));
            guest.RunUntil(() => requests.All(request => request.IsUsed));
        }
    }

    [Theory]
    [MemberData(nameof(Rings))]
    public void A_frame_that_finds_too_few_buffers_waits_for_more_and_comes_whole(ulong ring)
    {
        using NetCable cable = new();
        using SimulatedGuest guest = Guest(cable, ring | NetProtocol.FeatureMergeReceive);
        List<DriverRequest> requests = [Offer(guest, 500), Offer(guest, 500)];
        byte[] frame = NetCable.Frame(3000), next = NetCable.Frame(80, seed: 7);
        cable.TrySend(frame);
        cable.TrySend(next);
        while (requests.Count < 8)
        {
            guest.RunUntilIdle();
            Assert.DoesNotContain(requests.Take(6), request => request.IsUsed && requests.Count < 7);
            requests.Add(guest.Queue(Receive).Add(writable: [500]));
            if (guest.Queue(Receive).WantsKick) guest.Kick(Receive);
        }
        guest.RunUntil(() => requests[7].IsUsed);
        byte[] whole = [.. requests.Take(7).SelectMany(request => request.Written)];
        Assert.Equal(7, BinaryPrimitives.ReadUInt16LittleEndian(whole.AsSpan(10)));
        Assert.Equal(frame, whole[12..]);
        Assert.Equal(next, requests[7].Written[12..]);
    }

    [Fact]
    public void A_frame_that_never_fits_the_ring_is_dropped_and_the_next_one_comes()
    {
        using NetCable cable = new();
        NetDevice device = new("net0", cable.Device);
        using SimulatedGuest guest = SimulatedGuest.For(device, new SimulatedGuestOptions { QueueSizeMax = 4, Features = NetProtocol.FeatureMergeReceive });
        DriverRequest[] requests = [.. Enumerable.Range(0, 4).Select(_ => Offer(guest, 100))];
        cable.TrySend(NetCable.Frame(1000));
        byte[] small = NetCable.Frame(60);
        cable.TrySend(small);
        guest.RunUntil(() => requests[0].IsUsed);
        Assert.Equal(small, requests[0].Written[12..]);
        Assert.Equal(1, device.Statistics.ReceiveDropped);
    }

    [Fact]
    public void Without_merging_a_frame_beyond_its_buffer_is_dropped_and_the_buffer_is_for_the_next()
    {
        using NetCable cable = new();
        NetDevice device = new("net0", cable.Device);
        using SimulatedGuest guest = SimulatedGuest.For(device, new SimulatedGuestOptions { Features = NotMerged });
        DriverRequest request = Offer(guest, 200);
        cable.TrySend(NetCable.Frame(189));
        byte[] fits = NetCable.Frame(188, seed: 3);
        cable.TrySend(fits);
        guest.RunUntil(() => request.IsUsed);
        Assert.Equal(fits, request.Written[12..]);
        Assert.Equal(1, device.Statistics.ReceiveDropped);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(13)]
    public void What_is_too_short_to_be_a_frame_is_dropped(int length)
    {
        using NetCable cable = new();
        using SimulatedGuest guest = Guest(cable, ulong.MaxValue);
        DriverRequest request = Offer(guest, 1526);
        cable.TrySend(new byte[length]);
        byte[] frame = NetCable.Frame(60);
        cable.TrySend(frame);
        guest.RunUntil(() => request.IsUsed);
        Assert.Equal(frame, request.Written[12..]);
    }

    [Theory]
    [MemberData(nameof(Rings))]
    public void Frames_come_in_order_through_rings_that_run_dry_and_are_filled_again(ulong ring)
    {
        using NetCable cable = new();
        using SimulatedGuest guest = Guest(cable, ring | NetProtocol.FeatureMergeReceive);
        Queue<DriverRequest> offered = [];
        int sent = 0, got = 0;
        Random random = new(5);
        while (got < 500)
        {
            while (sent < 500 && sent - got < 8 && cable.TrySend(NetCable.Frame(60 + (sent % 1200), sent))) sent++;
            for (int i = random.Next(4); i > 0; i--)
            {
                offered.Enqueue(guest.Queue(Receive).Add(writable: [700, 814]));
                if (guest.Queue(Receive).WantsKick) guest.Kick(Receive);
            }
            guest.RunUntilIdle();
            while (offered.TryPeek(out DriverRequest? request) && request.IsUsed)
            {
                Assert.Equal(NetCable.Frame(60 + (got % 1200), got), request.Written[12..]);
                guest.Queue(Receive).Free(offered.Dequeue());
                got++;
            }
        }
    }

    [Fact]
    public void A_flood_that_finds_no_buffers_wakes_nobody_and_is_taken_up_again()
    {
        using NetCable cable = new();
        using SimulatedGuest guest = Guest(cable, ulong.MaxValue);
        guest.RunUntilIdle();
        long before = guest.Reactor.Statistics.Events;
        int sent = 0;
        while (cable.TrySend(NetCable.Frame(60, sent)))
        {
            sent++;
            guest.RunUntilIdle();
        }
        // One event for the first frame, one to learn that they go on.
        Assert.InRange(guest.Reactor.Statistics.Events - before, 1, 2);
        for (int i = 0; i < sent; i++)
        {
            DriverRequest request = Offer(guest, 1526);
            guest.RunUntil(() => request.IsUsed);
            Assert.Equal(NetCable.Frame(60, i), request.Written[12..]);
        }
        DriverRequest last = Offer(guest, 1526);
        guest.RunUntilIdle();
        cable.TrySend(NetCable.Frame(60, 12345));
        guest.RunUntil(() => last.IsUsed);
    }

    [Theory]
    [MemberData(nameof(Rings))]
    public void Buffers_that_got_no_frame_stay_the_drivers_when_the_queue_is_reset(ulong ring)
    {
        using NetCable cable = new();
        using SimulatedGuest guest = Guest(cable, ring | VirtioFeatures.RingReset | NetProtocol.FeatureMergeReceive);
        DriverRequest first = Offer(guest, 1526), second = Offer(guest, 1526);
        cable.TrySend(NetCable.Frame(60));
        guest.RunUntil(() => first.IsUsed);
        guest.Driver.ResetQueue(Receive);
        guest.RunUntil(() => !guest.Driver.IsQueueReady(Receive));
        guest.Queue(Receive).Collect();
        Assert.False(second.IsUsed);
    }

    [Fact]
    public void A_frame_allocates_nothing()
    {
        using NetCable cable = new();
        using SimulatedGuest guest = Guest(cable, ulong.MaxValue);
        byte[] frame = NetCable.Frame(60);
        long best = long.MaxValue;
        for (int attempt = 0; attempt < 4 && best > 0; attempt++)
        {
            for (int i = 0; i < 200; i++) Offer(guest, 64, 64);
            guest.RunUntilIdle();
            long before = guest.Reactor.Statistics.AllocatedBytes;
            for (int i = 0; i < 200; i++)
            {
                cable.TrySend(frame);
                guest.Reactor.RunOnce(TimeSpan.Zero);
            }
            best = Math.Min(best, guest.Reactor.Statistics.AllocatedBytes - before);
            guest.RunUntilIdle();
        }
        Assert.Equal(0, best);
    }

    private static SimulatedGuest Guest(NetCable cable, ulong features) =>
        SimulatedGuest.For(new NetDevice("net0", cable.Device), new SimulatedGuestOptions { Features = features });

    private static DriverRequest Offer(SimulatedGuest guest, params int[] lengths)
    {
        DriverRequest request = guest.Queue(Receive).Add(writable: lengths);
        guest.Kick(Receive);
        return request;
    }
}
