using Vmm.Devices.Native;
using Vmm.Devices.Simulation;
using Vmm.Devices.Tests.VhostUser;
using Vmm.Events;

namespace Vmm.Devices.Tests;

public sealed class BlockDeviceTests : IDisposable
{
    private const int ImageBytes = 1 << 20;

    private readonly ScratchImage _scratch = new(ImageBytes);
    private readonly ScratchImage _other = new(ImageBytes);

    public void Dispose()
    {
        _scratch.Dispose();
        _other.Dispose();
    }

    [Theory]
    [InlineData(0, "vda")]
    [InlineData(25, "vdz")]
    [InlineData(26, "vdaa")]
    [InlineData(52, "vdba")]
    [InlineData(701, "vdzz")]
    [InlineData(702, "vdaaa")]
    public void A_disk_is_named_as_Linux_names_it(int index, string name) => Assert.Equal(name, BlockDevice.NameOf(index));

    [Fact]
    public void The_configuration_space_describes_the_disk_5_2_4()
    {
        using SimulatedGuest guest = SimulatedGuest.For(new BlockDevice("vda", RawImage.Open(_scratch.Path), new DiskSpec { Queues = 3, QueueSize = 128 }));
        Assert.Equal((ulong)ImageBytes / 512, guest.Driver.ReadConfig<ulong>(0));
        Assert.Equal(126u, guest.Driver.ReadConfig<uint>(12));
        Assert.Equal(512u, guest.Driver.ReadConfig<uint>(20));
        Assert.Equal(3, guest.Driver.ReadConfig<ushort>(34));
        Assert.Equal(BlockRequest.DiscardSectorsMax, guest.Driver.ReadConfig<uint>(36));
        Assert.Equal((uint)BlockRequest.SegmentsMax, guest.Driver.ReadConfig<uint>(40));
        Assert.Equal(1, guest.Driver.ReadConfig<byte>(56));
        Assert.Equal(128, guest.Driver.QueueSizeMax(2));
        ulong expected = BlockProtocol.FeatureSegMax | BlockProtocol.FeatureSizeMax | BlockProtocol.FeatureBlockSize | BlockProtocol.FeatureFlush
            | BlockProtocol.FeatureMultiQueue | BlockProtocol.FeatureDiscard | BlockProtocol.FeatureWriteZeroes | BlockProtocol.FeatureTopology
            | BlockProtocol.FeatureConfigWriteback;
        Assert.Equal(expected, guest.Driver.OfferedFeatures & ((1 << VirtioFeatures.FirstCommonBit) - 1));
    }

    [Fact]
    public void What_the_guest_writes_is_in_the_image_and_what_is_there_it_reads()
    {
        byte[] content = BlockGuest.Pattern(ImageBytes);
        _scratch.Bytes = content;
        using SimulatedGuest guest = Guest();
        DriverRequest read = guest.Queue(0).Read(7, 3);
        byte[] data = BlockGuest.Pattern(1024, 2);
        DriverRequest write = guest.Queue(0).Write(2, data);
        DriverRequest flush = guest.Queue(0).Ask(BlockRequestType.Flush);
        guest.Kick(0).RunUntilIdle();

        Assert.Equal((BlockStatus.Ok, BlockStatus.Ok, BlockStatus.Ok), (read.Status(), write.Status(), flush.Status()));
        Assert.Equal(content[(7 * 512)..(10 * 512)], read.Data());
        Assert.Equal((3u * 512 + 1, 1u, 1u), (read.UsedLength, write.UsedLength, flush.UsedLength));
        data.CopyTo(content, 2 * 512);
        Assert.Equal(content, _scratch.Bytes);
        Assert.Equal(1, guest.Interrupts);
    }

    /// <summary>OVMF accepts neither SIZE_MAX nor SEG_MAX, and reads 130 MiB in one request.</summary>
    [Theory]
    [InlineData(BlockProtocol.FeatureSizeMax | BlockProtocol.FeatureSegMax, BlockStatus.IoError)]
    [InlineData(BlockProtocol.FeatureSizeMax, BlockStatus.Ok)]
    [InlineData(BlockProtocol.FeatureSegMax, BlockStatus.Ok)]
    [InlineData(0ul, BlockStatus.Ok)]
    public void Limits_bind_the_driver_that_accepted_both_and_no_other(ulong limits, BlockStatus expected)
    {
        const int Sectors = 6144;
        using ScratchImage image = new(Sectors * 512);
        byte[] content = BlockGuest.Pattern(Sectors * 512);
        image.Bytes = content;
        // 4 entries: 2 segments of 1 MiB each.
        using SimulatedGuest guest = SimulatedGuest.For(new BlockDevice("vda", RawImage.Open(image.Path), new DiskSpec { QueueSize = 4 }),
            new SimulatedGuestOptions { Features = ~(BlockProtocol.FeatureSizeMax | BlockProtocol.FeatureSegMax) | limits });
        DriverRequest read = guest.Queue(0).Read(0, Sectors);
        guest.Kick(0).RunUntilIdle();
        Assert.Equal(expected, read.Status());
        if (expected == BlockStatus.Ok) Assert.Equal(content, read.Data());
    }

    [Fact]
    public void Buffers_cut_at_every_offset_hold_the_same_data()
    {
        byte[] content = BlockGuest.Pattern(ImageBytes);
        _scratch.Bytes = content;
        using SimulatedGuest guest = Guest();
        for (int cut = 1; cut < 512; cut += 7)
        {
            byte[] header = new byte[16];
            header[8] = 5;
            DriverRequest read = guest.Queue(0).Add([header[..(cut % 15 + 1)], header[(cut % 15 + 1)..]], [cut, 512 - cut, 1]);
            guest.Kick(0).RunUntilIdle();
            Assert.Equal(content[(5 * 512)..(6 * 512)], read.Data());
        }
    }

    [Fact]
    public void A_request_of_more_buffers_than_the_kernel_takes_at_once_is_served_whole()
    {
        byte[] content = BlockGuest.Pattern(ImageBytes);
        _scratch.Bytes = content;
        using SimulatedGuest guest = SimulatedGuest.For(
            new BlockDevice("vda", RawImage.Open(_scratch.Path), new DiskSpec { QueueSize = 1024 }), new SimulatedGuestOptions { QueueSizeMax = 1024 });
        DriverRequest read = guest.Queue(0).Add([new byte[16]], [.. Enumerable.Repeat(48, 992), 1]);
        guest.Kick(0).RunUntilIdle();
        Assert.Equal(content[..(992 * 48)], read.Data());
    }

    [Fact]
    public void Discarded_and_zeroed_sectors_read_as_zero_and_their_neighbours_stay()
    {
        byte[] content = BlockGuest.Pattern(ImageBytes);
        _scratch.Bytes = content;
        using SimulatedGuest guest = Guest();
        DriverRequest discard = guest.Queue(0).Segment(BlockRequestType.Discard, 16, 32);
        DriverRequest zero = guest.Queue(0).Segment(BlockRequestType.WriteZeroes, 101, 3);
        DriverRequest unmap = guest.Queue(0).Segment(BlockRequestType.WriteZeroes, 200, 100, flags: 1);
        guest.Kick(0).RunUntilIdle();
        Assert.Equal((BlockStatus.Ok, BlockStatus.Ok, BlockStatus.Ok), (discard.Status(), zero.Status(), unmap.Status()));
        content.AsSpan(16 * 512, 32 * 512).Clear();
        content.AsSpan(101 * 512, 3 * 512).Clear();
        content.AsSpan(200 * 512, 100 * 512).Clear();
        Assert.Equal(content, _scratch.Bytes);
    }

    [Fact]
    public void A_read_only_disk_says_so_and_its_image_stays()
    {
        byte[] content = BlockGuest.Pattern(ImageBytes);
        _scratch.Bytes = content;
        DateTime written = File.GetLastWriteTimeUtc(_scratch.Path);
        using (SimulatedGuest guest = SimulatedGuest.For(new BlockDevice("vda", RawImage.Open(_scratch.Path, readOnly: true))))
        {
            Assert.NotEqual(0u, guest.Driver.OfferedFeatures & BlockProtocol.FeatureReadOnly);
            Assert.Equal(0u, guest.Driver.OfferedFeatures & (BlockProtocol.FeatureDiscard | BlockProtocol.FeatureWriteZeroes));
            DriverRequest write = guest.Queue(0).Write(0, new byte[512]);
            DriverRequest read = guest.Queue(0).Read(0);
            guest.Kick(0).RunUntilIdle();
            Assert.Equal((BlockStatus.IoError, BlockStatus.Ok), (write.Status(), read.Status()));
        }
        Assert.Equal(content, _scratch.Bytes);
        Assert.Equal(written, File.GetLastWriteTimeUtc(_scratch.Path));
    }

    [Fact]
    public void The_serial_number_is_the_one_given_5_2_6()
    {
        using SimulatedGuest guest = SimulatedGuest.For(new BlockDevice("vda", RawImage.Open(_scratch.Path), new DiskSpec { Serial = "disk-0001" }));
        DriverRequest id = guest.Queue(0).Add([[8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]], [20, 1]);
        guest.Kick(0).RunUntilIdle();
        Assert.Equal((BlockStatus.Ok, 21u), (id.Status(), id.UsedLength));
        Assert.Equal([.. "disk-0001"u8, .. new byte[11]], id.Data());
    }

    [Fact]
    public void A_full_disk_is_an_error_for_the_guest_and_a_line_for_the_operator()
    {
        FaultyBackend backend = new() { Fault = _ => Errno.NoSpace };
        RecordingLogger log = new();
        using SimulatedGuest guest = SimulatedGuest.For(new BlockDevice("vda", backend) { Logger = log });
        DriverRequest[] writes = [.. Enumerable.Range(0, 5).Select(i => guest.Queue(0).Write((ulong)i, new byte[512]))];
        guest.Kick(0).RunUntilIdle();
        Assert.All(writes, write => Assert.Equal(BlockStatus.IoError, write.Status()));
        Assert.Equal(5, guest.Device.HostFaults);
        string line = Assert.Single(log.Lines);
        Assert.Contains("vda: cannot write to the disk, faulty disk: No space left on device", line, StringComparison.Ordinal);

        backend.Fault = null;
        DriverRequest later = guest.Queue(0).Write(0, new byte[512]);
        guest.Kick(0).RunUntilIdle();
        Assert.Equal(BlockStatus.Ok, later.Status());
    }

    [Fact]
    public void An_image_that_was_cut_short_is_an_I_O_error_and_no_stale_byte_counts_as_written()
    {
        using SimulatedGuest guest = SimulatedGuest.For(new BlockDevice("vda", new BackendOfOneSize(
            RawImage.Open(_scratch.Path, engine: BlockEngineKind.Synchronous))));
        _scratch.Bytes = new byte[512];
        DriverRequest read = guest.Queue(0).Read(0, 2);
        guest.Kick(0).RunUntilIdle();
        Assert.Equal((BlockStatus.IoError, 512u), (read.Status(), read.UsedLength));
    }

    [Fact]
    public void A_request_without_a_status_byte_is_the_drivers_fault_and_comes_back()
    {
        using SimulatedGuest guest = Guest();
        DriverRequest request = guest.Queue(0).Add([new byte[16]], []);
        guest.Kick(0).RunUntilIdle();
        Assert.True(request.IsUsed);
        Assert.True(guest.Driver.Status.HasFlag(DeviceStatus.NeedsReset));
        Assert.Equal(1, guest.Device.GuestFaults);
    }

    [Fact]
    public void An_engine_may_complete_later_and_in_any_order_with_one_interrupt_a_batch()
    {
        FaultyBackend backend = new() { Holds = true };
        using SimulatedGuest guest = SimulatedGuest.For(new BlockDevice("vda", backend));
        DriverRequest[] reads = [.. Enumerable.Range(0, 10).Select(i => guest.Queue(0).Read((ulong)i))];
        guest.Kick(0).RunUntilIdle();
        Assert.Equal(10, backend.Held);
        Assert.All(reads, read => Assert.False(read.IsUsed));
        backend.CompleteHeld();
        guest.RunUntilIdle();
        Assert.All(reads, read => Assert.Equal(BlockStatus.Ok, read.Status()));
        Assert.Equal(1, guest.Interrupts);
    }

    [Fact]
    public void A_reset_waits_for_the_operations_that_are_in_flight_2_4_1()
    {
        FaultyBackend backend = new() { Holds = true };
        using SimulatedGuest guest = SimulatedGuest.For(new BlockDevice("vda", backend));
        guest.Queue(0).Read(0);
        guest.Kick(0).RunUntilIdle();
        guest.Driver.Reset();
        guest.RunUntilIdle();
        Assert.NotEqual(DeviceStatus.None, guest.Driver.Status);
        Assert.Equal(1, backend.Engines);
        backend.CompleteHeld();
        guest.RunUntilIdle();
        Assert.Equal(DeviceStatus.None, guest.Driver.Status);
        Assert.Equal(0, backend.Engines);
    }

    [Fact]
    public void One_queue_is_reset_alone_and_comes_back_2_6_1()
    {
        FaultyBackend backend = new() { Holds = true };
        using SimulatedGuest guest = SimulatedGuest.For(new BlockDevice("vda", backend, new DiskSpec { Queues = 2 }));
        guest.Queue(0).Read(0);
        DriverRequest other = guest.Queue(1).Read(1);
        guest.Kick(0).Kick(1).RunUntilIdle();
        guest.Driver.ResetQueue(0);
        guest.RunUntilIdle();
        Assert.True(guest.Driver.IsQueueReady(0));
        Assert.Equal(1u, guest.Driver.Read(MmioRegister.QueueReset));
        backend.CompleteHeld();
        guest.RunUntilIdle();
        Assert.False(guest.Driver.IsQueueReady(0));
        Assert.Equal(0u, guest.Driver.Read(MmioRegister.QueueReset));
        Assert.True(guest.Driver.IsQueueReady(1));

        backend.Holds = false;
        DriverRequest fresh = guest.SetUpQueue(0).Read(0);
        guest.Kick(0).RunUntilIdle();
        Assert.Equal((BlockStatus.Ok, BlockStatus.Ok), (fresh.Status(), other.Status()));
    }

    [Fact]
    public void The_driver_switches_the_write_cache_5_2_5()
    {
        FaultyBackend backend = new();
        using SimulatedGuest guest = SimulatedGuest.For(new BlockDevice("vda", backend));
        Assert.Equal(1, guest.Driver.ReadConfig<byte>(32));
        Assert.False(WritesThrough());
        guest.Driver.WriteConfig<byte>(32, 0);
        guest.RunUntilIdle();
        Assert.True(WritesThrough());
        // Linux takes it from there after a reboot; monitors that answer from a copy show it what it was.
        guest.Reset().Start();
        Assert.Equal(0, guest.Driver.ReadConfig<byte>(32));
        Assert.True(WritesThrough());
        guest.Driver.WriteConfig<byte>(32, 1);
        Assert.False(WritesThrough());

        bool WritesThrough()
        {
            guest.Queue(0).Write(0, new byte[512]);
            guest.Kick(0).RunUntilIdle();
            return backend.Last!.IsDurable;
        }
    }

    [Theory]
    [InlineData(~(BlockProtocol.FeatureFlush | BlockProtocol.FeatureConfigWriteback), true)]
    [InlineData(~BlockProtocol.FeatureConfigWriteback, false)]
    public void A_driver_that_can_not_flush_gets_no_cache_5_2_6_2(ulong features, bool writesThrough)
    {
        FaultyBackend backend = new();
        using SimulatedGuest guest = SimulatedGuest.For(new BlockDevice("vda", backend), new SimulatedGuestOptions { Features = features });
        guest.Queue(0).Write(0, new byte[512]);
        guest.Kick(0).RunUntilIdle();
        Assert.Equal(writesThrough, backend.Last!.IsDurable);
    }

    [Fact]
    public void The_topology_is_that_of_the_file_system_5_2_4()
    {
        using RawImage image = RawImage.Open(_other.Path);
        using SimulatedGuest guest = Guest();
        Assert.Equal(image.PhysicalBlockBytes, 512u << guest.Driver.ReadConfig<byte>(24));
        Assert.Equal(image.PhysicalBlockBytes, 512u * guest.Driver.ReadConfig<ushort>(26));
    }

    [Fact]
    public void A_discard_frees_blocks_of_the_host()
    {
        _scratch.Bytes = BlockGuest.Pattern(ImageBytes);
        using SimulatedGuest guest = Guest();
        DriverRequest flush = guest.Queue(0).Ask(BlockRequestType.Flush);
        guest.Kick(0).RunUntil(() => flush.IsUsed);
        long before = Blocks();
        DriverRequest discard = guest.Queue(0).Segment(BlockRequestType.Discard, 0, ImageBytes / 512);
        guest.Kick(0).RunUntil(() => discard.IsUsed);
        Assert.Equal(BlockStatus.Ok, discard.Status());
        Assert.True(Blocks() <= before - (ImageBytes / 512 / 2), $"{before} blocks before, {Blocks()} after");

        long Blocks()
        {
            using OwnedFd file = new(FileCalls.Open(_scratch.Path, FileCalls.O_RDONLY | FileCalls.O_CLOEXEC));
            Assert.Equal(Errno.None, MemoryCalls.Stat(file.Number, out FileStatus status));
            return status.Blocks;
        }
    }

    [Fact]
    public void The_device_closes_its_backend()
    {
        FaultyBackend backend = new();
        SimulatedGuest.For(new BlockDevice("vda", backend)).Dispose();
        Assert.True(backend.IsDisposed);
    }

    [Theory]
    [InlineData(0, 256, "has 0 queues")]
    [InlineData(257, 256, "has 257 queues")]
    [InlineData(1, 100, "has a queue size of 100: give it a power of two")]
    [InlineData(1, 2, "has a queue size of 2: give it a power of two")]
    public void Options_out_of_range_are_told(int queues, int size, string sentence)
    {
        ArgumentException refusal = Assert.Throws<ArgumentException>(
            () => new BlockDevice("vda", new FaultyBackend(), new DiskSpec { Queues = queues, QueueSize = (ushort)size }));
        Assert.Contains(sentence, refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_hundred_thousand_requests_allocate_nothing_on_the_reactors_thread()
    {
        using SimulatedGuest guest = Guest();
        DriverQueue ring = guest.Queue(0).Ring;
        GuestBuffer header = guest.Queue(0).Place(new byte[16]);
        GuestBuffer[] readable = [header];
        GuestBuffer[] writable = [guest.Queue(0).Place(new byte[4096]), guest.Queue(0).Place(new byte[1])];
        SteadyState.AllocatesNothing(() => Run(100_000));

        void Run(int requests)
        {
            for (int done = 0; done < requests;)
            {
                for (int i = 0; i < 32; i++) ring.TryAdd(readable, writable, out _);
                ring.Publish();
                guest.Kick(0);
                while (guest.Reactor.RunOnce(TimeSpan.Zero) > 0)
                {
                }
                while (ring.TryCollect(out _)) done++;
                guest.Driver.TakeInterrupts();
            }
        }
    }

    // What requests mean, on the engine that answers at once; BlockEngineTests compares the engines.
    /// <summary>An image whose new size nothing reports: its disk goes on as if it had the old one.</summary>
    private sealed class BackendOfOneSize(RawImage image) : IBlockBackend
    {
        public string Description => image.Description;

        public ulong CapacityBytes => image.CapacityBytes;

        public bool IsReadOnly => image.IsReadOnly;

        public IBlockEngine CreateEngine(IReactor reactor, Action onCompleted) => image.CreateEngine(reactor, onCompleted);

        public void Dispose() => image.Dispose();
    }

    private SimulatedGuest Guest() => SimulatedGuest.For(new BlockDevice("vda", RawImage.Open(_scratch.Path, engine: BlockEngineKind.Synchronous)));
}
