using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests.Hostile;

/// <summary>Requests no driver may make of a disk, over whole rings.</summary>
[Trait("Device", "block")]
public sealed class HostileBlockTests
{
    private const ulong Sectors = 2048;
    private static readonly int Errors = HostileCase.Repeats(20_000);
    /// <summary>Twice the device's share, for the driver's kick and for our own, and the request that went over it.</summary>
    private const ulong BytesPerTurnMax = 34 << 20;

    public static TheoryData<HostileCase> Cases => HostileCase.Of("block");

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "virtio 1.2 § 5.2.6: sectors past the end, and sector numbers that overflow when they are multiplied or added to")]
    [Trait("Outcome", "I/O error")]
    public void Sectors_the_disk_does_not_have_are_an_error(HostileCase @case)
    {
        using SimulatedGuest guest = @case.Guest(new BlockDevice("vda", new FaultyBackend()));
        using Neighbour neighbour = new(guest);
        foreach ((ulong sector, int count) in ((ulong, int)[])
        [
            (Sectors, 1), (Sectors - 1, 2), (1UL << 32, 1), (1UL << 55, 1), ((1UL << 55) + 1, 1), (1UL << 63, 1), (ulong.MaxValue, 1), (ulong.MaxValue - 1, 2), (0, (int)Sectors + 1),
        ])
        {
            Assert.Equal(BlockStatus.IoError, Answer(guest, queue => queue.Read(sector, count)));
            Assert.Equal(BlockStatus.IoError, Answer(guest, queue => queue.Write(sector, new byte[count * 512])));
            Assert.Equal(BlockStatus.IoError, Answer(guest, queue => queue.Segment(BlockRequestType.Discard, sector, (uint)count)));
            Assert.Equal(BlockStatus.IoError, Answer(guest, queue => queue.Segment(BlockRequestType.WriteZeroes, sector, (uint)count)));
        }
        Assert.Equal(BlockStatus.IoError, Answer(guest, queue => queue.Segment(BlockRequestType.Discard, 1, uint.MaxValue)));
        Assert.Equal(BlockStatus.Ok, Answer(guest, queue => queue.Read(Sectors - 1)));
        Assert.Equal(0, guest.Device.GuestFaults);
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "virtio 1.2 § 5.2.6.2: request types that do not exist")]
    [Trait("Outcome", "unsupported")]
    public void Unknown_types_are_unsupported(HostileCase @case)
    {
        using SimulatedGuest guest = @case.Guest(new BlockDevice("vda", new FaultyBackend()));
        using Neighbour neighbour = new(guest);
        foreach (uint type in (uint[])[2, 3, 5, 6, 7, 9, 10, 12, 14, 15, 0x100, 0x8000_0000, uint.MaxValue])
            Assert.Equal(BlockStatus.Unsupported, Answer(guest, queue => queue.Ask((BlockRequestType)type)));
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "virtio 1.2 § 5.2.6; CVE-2023-3180 (QEMU: virtio-crypto, source and destination of unequal lengths)")]
    [Trait("Outcome", "I/O error")]
    public void Lengths_that_are_no_sectors_are_an_error(HostileCase @case)
    {
        using SimulatedGuest guest = @case.Guest(new BlockDevice("vda", new FaultyBackend()));
        using Neighbour neighbour = new(guest);
        byte[] header = new byte[16];
        foreach (int length in (int[])[1, 511, 513, 1023, 4095])
        {
            Assert.Equal(BlockStatus.IoError, Answer(guest, queue => queue.Add([header], [length, 1])));
            header[0] = (byte)BlockRequestType.Out;
            Assert.Equal(BlockStatus.IoError, Answer(guest, queue => queue.Add([header, new byte[length]], [1])));
            header[0] = (byte)BlockRequestType.In;
        }
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "virtio 1.2 § 5.2.6: a request with nowhere to put its status, or nothing but a head")]
    [Trait("Outcome", "given back, needs reset")]
    public void A_request_without_a_status_byte_or_a_header_comes_back(HostileCase @case)
    {
        using SimulatedGuest guest = @case.Guest(new BlockDevice("vda", new FaultyBackend()));
        using Neighbour neighbour = new(guest);
        foreach ((byte[][] readable, int[] writable) in ((byte[][], int[])[])[([new byte[16]], []), ([new byte[16], new byte[512]], []), ([new byte[15]], [1]), ([], [513])])
        {
            DriverRequest made = guest.Queue(0).Add(readable, writable);
            guest.Kick(0).RunUntilIdle();
            Assert.True(made.IsUsed);
            Assert.True(guest.Driver.Status.HasFlag(DeviceStatus.NeedsReset));
            guest.Reset().Start();
        }
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "CVE-2026-45782 (Cloud Hypervisor: two chains with one head under asynchronous I/O)")]
    [Trait("Outcome", "needs reset; completed once")]
    public void A_head_given_twice_while_it_is_written_to_disk_is_completed_once(HostileCase @case)
    {
        FaultyBackend backend = new() { Holds = true };
        using SimulatedGuest guest = @case.Guest(new BlockDevice("vda", backend));
        using Neighbour neighbour = new(guest);
        SimulatedQueue queue = guest.Queue(0);
        queue.Ring.UseIndirect = false;
        DriverRequest made = queue.Write(3, new byte[512]);
        guest.Kick(0).RunUntilIdle();
        Assert.Equal(1, backend.Held);
        if (queue.Ring is PackedDriverQueue packed) packed.WriteDescriptor(3, queue.Place(new byte[16]).Address, 16, 0, packed.AvailableFlags);
        else ((SplitDriverQueue)queue.Ring).MakeAvailable(0);
        guest.Kick(0).RunUntilIdle();
        Assert.True(guest.Driver.Status.HasFlag(DeviceStatus.NeedsReset));
        Assert.Equal(1, backend.Held);
        backend.Holds = false;
        backend.CompleteHeld();
        guest.RunUntilIdle();
        Assert.Equal(BlockStatus.Ok, made.Status());
        guest.Reset().Start();
        Assert.Equal(BlockStatus.Ok, Answer(guest, next => next.Read(0)));
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "CVE-2021-3748 (QEMU: virtio-net, a header written after its memory was let go)")]
    [Trait("Outcome", "the reset waits")]
    public void A_late_completion_writes_to_no_driver_that_comes_after(HostileCase @case)
    {
        FaultyBackend backend = new() { Holds = true };
        using SimulatedGuest guest = @case.Guest(new BlockDevice("vda", backend));
        using Neighbour neighbour = new(guest);
        DriverRequest made = guest.Queue(0).Read(0);
        guest.Kick(0).RunUntilIdle();
        guest.Driver.Reset();
        guest.RunUntilIdle();
        // Until the kernel is done with the driver's memory the device has not been reset, and says so.
        Assert.NotEqual(DeviceStatus.None, guest.Driver.Status);
        Assert.Equal(1, backend.Held);
        backend.Holds = false;
        backend.CompleteHeld();
        guest.RunUntil(() => guest.Driver.Status == DeviceStatus.None);
        guest.Memory.TryWrite(made.Writable[^1].Address, [0x77]);
        guest.Reset().Start();
        Assert.Equal(BlockStatus.Ok, Answer(guest, queue => queue.Read(0)));
        Assert.Equal(0x77, made.Content[^1]);
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "CVE-2022-26353, CVE-2022-26354 (QEMU: error paths that leak an element)")]
    [Trait("Outcome", "memory stays flat")]
    public void Errors_without_end_allocate_nothing(HostileCase @case)
    {
        using SimulatedGuest guest = @case.Guest(new BlockDevice("vda", new FaultyBackend()));
        using Neighbour neighbour = new(guest);
        DriverQueue ring = guest.Queue(0).Ring;
        GuestBuffer header = guest.Queue(0).Place([.. BitConverter.GetBytes(2), .. new byte[12]]), status = guest.Queue(0).Place([0xff]);
        Fail(Errors / 10);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Fail(Errors);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, Errors);
        Assert.Equal(Errors + Errors / 10, guest.Device.QueueStatistics[0].Requests);

        void Fail(int times)
        {
            for (int i = 0; i < times; i++)
            {
                ring.TryAdd([header], [status], out _);
                ring.Publish();
                guest.Driver.Kick(0);
                while (!ring.HasUsed) guest.Reactor.RunOnce(TimeSpan.Zero);
                ring.TryCollect(out _);
            }
        }
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "CVE-2019-3900 (Linux: vhost without a weight for a turn); few requests that each name the same memory over and over")]
    [Trait("Outcome", "served a turn at a time")]
    public void A_turn_moves_no_more_than_its_share_of_bytes(HostileCase @case)
    {
        FaultyBackend backend = new();
        using SimulatedGuest guest = @case.Guest(new BlockDevice("vda", backend));
        using Neighbour neighbour = new(guest);
        SimulatedQueue queue = guest.Queue(0);
        GuestBuffer header = queue.Place(new byte[16]), whole = new(32 << 20, 1 << 20), status = queue.Place([0]);
        List<DriverRequest> made = [];
        while (queue.Ring.Free >= 3 && made.Count < 200) made.Add(queue.Add([header], [whole, status]));
        guest.Driver.Kick(0);
        ulong most = 0;
        for (int turn = 0; turn < 1_000 && made.Exists(each => !each.IsUsed); turn++)
        {
            ulong before = backend.Bytes;
            guest.Reactor.RunOnce(TimeSpan.Zero);
            queue.Collect();
            most = Math.Max(most, backend.Bytes - before);
        }
        Assert.All(made, each => Assert.Equal(BlockStatus.Ok, each.Status()));
        Assert.InRange(most, 1u << 20, BytesPerTurnMax);
    }

    private static BlockStatus Answer(SimulatedGuest guest, Func<SimulatedQueue, DriverRequest> make)
    {
        DriverRequest made = make(guest.Queue(0));
        guest.Kick(0).RunUntilIdle();
        BlockStatus status = made.Status();
        guest.Queue(0).Free(made);
        return status;
    }
}
