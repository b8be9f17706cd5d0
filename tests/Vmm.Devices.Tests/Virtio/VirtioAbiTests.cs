using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vmm.Devices.Native;
using Vmm.Tests.Native;

namespace Vmm.Devices.Tests;

/// <summary>Holds the numbers of transport, devices and file calls against what the C compiler says of the kernel's and the library's headers.</summary>
[Collection(Alone.Name)]
public sealed class VirtioAbiTests
{
    private static readonly string[] Headers =
    [
        "fcntl.h", "unistd.h", "sys/uio.h", "limits.h", "linux/falloc.h", "linux/virtio_ids.h", "linux/virtio_config.h", "linux/virtio_ring.h",
        "linux/virtio_mmio.h", "linux/virtio_blk.h", "linux/virtio_console.h", "linux/virtio_balloon.h",
        "linux/fs.h", "linux/blkzoned.h", "linux/loop.h",
    ];

    private static readonly (string C, long Ours)[] Registers =
    [
        ("VIRTIO_MMIO_MAGIC_VALUE", MmioRegister.MagicValue), ("VIRTIO_MMIO_VERSION", MmioRegister.Version),
        ("VIRTIO_MMIO_DEVICE_ID", MmioRegister.DeviceId), ("VIRTIO_MMIO_VENDOR_ID", MmioRegister.VendorId),
        ("VIRTIO_MMIO_DEVICE_FEATURES", MmioRegister.DeviceFeatures), ("VIRTIO_MMIO_DEVICE_FEATURES_SEL", MmioRegister.DeviceFeaturesSel),
        ("VIRTIO_MMIO_DRIVER_FEATURES", MmioRegister.DriverFeatures), ("VIRTIO_MMIO_DRIVER_FEATURES_SEL", MmioRegister.DriverFeaturesSel),
        ("VIRTIO_MMIO_QUEUE_SEL", MmioRegister.QueueSel), ("VIRTIO_MMIO_QUEUE_NUM_MAX", MmioRegister.QueueSizeMax),
        ("VIRTIO_MMIO_QUEUE_NUM", MmioRegister.QueueSize), ("VIRTIO_MMIO_QUEUE_READY", MmioRegister.QueueReady),
        ("VIRTIO_MMIO_QUEUE_NOTIFY", MmioRegister.QueueNotify), ("VIRTIO_MMIO_INTERRUPT_STATUS", MmioRegister.InterruptStatus),
        ("VIRTIO_MMIO_INTERRUPT_ACK", MmioRegister.InterruptAck), ("VIRTIO_MMIO_STATUS", MmioRegister.Status),
        ("VIRTIO_MMIO_QUEUE_DESC_LOW", MmioRegister.QueueDescLow), ("VIRTIO_MMIO_QUEUE_DESC_HIGH", MmioRegister.QueueDescHigh),
        ("VIRTIO_MMIO_QUEUE_AVAIL_LOW", MmioRegister.QueueDriverLow), ("VIRTIO_MMIO_QUEUE_AVAIL_HIGH", MmioRegister.QueueDriverHigh),
        ("VIRTIO_MMIO_QUEUE_USED_LOW", MmioRegister.QueueDeviceLow), ("VIRTIO_MMIO_QUEUE_USED_HIGH", MmioRegister.QueueDeviceHigh),
        ("VIRTIO_MMIO_SHM_SEL", MmioRegister.ShmSel), ("VIRTIO_MMIO_SHM_LEN_LOW", MmioRegister.ShmLenLow),
        ("VIRTIO_MMIO_SHM_LEN_HIGH", MmioRegister.ShmLenHigh), ("VIRTIO_MMIO_SHM_BASE_LOW", MmioRegister.ShmBaseLow),
        ("VIRTIO_MMIO_SHM_BASE_HIGH", MmioRegister.ShmBaseHigh), ("VIRTIO_MMIO_CONFIG_GENERATION", MmioRegister.ConfigGeneration),
        ("VIRTIO_MMIO_CONFIG", MmioRegister.Config),
    ];

    private static readonly (string C, long Ours)[] Virtio =
    [
        ("VIRTIO_CONFIG_S_ACKNOWLEDGE", (long)DeviceStatus.Acknowledge), ("VIRTIO_CONFIG_S_DRIVER", (long)DeviceStatus.Driver),
        ("VIRTIO_CONFIG_S_DRIVER_OK", (long)DeviceStatus.DriverOk), ("VIRTIO_CONFIG_S_FEATURES_OK", (long)DeviceStatus.FeaturesOk),
        ("VIRTIO_CONFIG_S_NEEDS_RESET", (long)DeviceStatus.NeedsReset), ("VIRTIO_CONFIG_S_FAILED", (long)DeviceStatus.Failed),
        ("1L << VIRTIO_RING_F_INDIRECT_DESC", (long)VirtioFeatures.IndirectDescriptors), ("1L << VIRTIO_RING_F_EVENT_IDX", (long)VirtioFeatures.EventIndex),
        ("1L << VIRTIO_F_VERSION_1", (long)VirtioFeatures.Version1), ("1L << VIRTIO_F_RING_PACKED", (long)VirtioFeatures.PackedRing),
        ("1L << VIRTIO_F_IN_ORDER", (long)VirtioFeatures.InOrder), ("1L << VIRTIO_F_RING_RESET", (long)VirtioFeatures.RingReset),
        ("VIRTIO_ID_NET", (long)VirtioDeviceType.Network), ("VIRTIO_ID_BLOCK", (long)VirtioDeviceType.Block),
        ("VIRTIO_ID_CONSOLE", (long)VirtioDeviceType.Console), ("VIRTIO_ID_RNG", (long)VirtioDeviceType.Entropy),
        ("VIRTIO_ID_BALLOON", (long)VirtioDeviceType.Balloon), ("VIRTIO_ID_VSOCK", (long)VirtioDeviceType.Socket),
    ];

    private static readonly (string C, long Ours)[] Block =
    [
        ("1L << VIRTIO_BLK_F_SIZE_MAX", (long)BlockProtocol.FeatureSizeMax), ("1L << VIRTIO_BLK_F_SEG_MAX", (long)BlockProtocol.FeatureSegMax),
        ("1L << VIRTIO_BLK_F_RO", (long)BlockProtocol.FeatureReadOnly), ("1L << VIRTIO_BLK_F_BLK_SIZE", (long)BlockProtocol.FeatureBlockSize),
        ("1L << VIRTIO_BLK_F_FLUSH", (long)BlockProtocol.FeatureFlush), ("1L << VIRTIO_BLK_F_TOPOLOGY", (long)BlockProtocol.FeatureTopology),
        ("1L << VIRTIO_BLK_F_CONFIG_WCE", (long)BlockProtocol.FeatureConfigWriteback), ("1L << VIRTIO_BLK_F_MQ", (long)BlockProtocol.FeatureMultiQueue),
        ("1L << VIRTIO_BLK_F_DISCARD", (long)BlockProtocol.FeatureDiscard), ("1L << VIRTIO_BLK_F_WRITE_ZEROES", (long)BlockProtocol.FeatureWriteZeroes),
        ("offsetof(struct virtio_blk_config, capacity)", BlockProtocol.ConfigCapacity), ("offsetof(struct virtio_blk_config, size_max)", BlockProtocol.ConfigSizeMax),
        ("offsetof(struct virtio_blk_config, seg_max)", BlockProtocol.ConfigSegMax), ("offsetof(struct virtio_blk_config, blk_size)", BlockProtocol.ConfigBlockSize),
        ("offsetof(struct virtio_blk_config, physical_block_exp)", BlockProtocol.ConfigPhysicalBlockExponent),
        ("offsetof(struct virtio_blk_config, min_io_size)", BlockProtocol.ConfigMinIoSize), ("offsetof(struct virtio_blk_config, opt_io_size)", BlockProtocol.ConfigOptIoSize),
        ("offsetof(struct virtio_blk_config, wce)", BlockProtocol.ConfigWriteback), ("offsetof(struct virtio_blk_config, num_queues)", BlockProtocol.ConfigQueues),
        ("offsetof(struct virtio_blk_config, max_discard_sectors)", BlockProtocol.ConfigDiscardSectorsMax),
        ("offsetof(struct virtio_blk_config, max_discard_seg)", BlockProtocol.ConfigDiscardSegmentsMax),
        ("offsetof(struct virtio_blk_config, discard_sector_alignment)", BlockProtocol.ConfigDiscardAlignment),
        ("offsetof(struct virtio_blk_config, max_write_zeroes_sectors)", BlockProtocol.ConfigWriteZeroesSectorsMax),
        ("offsetof(struct virtio_blk_config, max_write_zeroes_seg)", BlockProtocol.ConfigWriteZeroesSegmentsMax),
        ("offsetof(struct virtio_blk_config, write_zeroes_may_unmap)", BlockProtocol.ConfigWriteZeroesMayUnmap),
        ("sizeof(struct virtio_blk_outhdr)", Unsafe.SizeOf<BlockRequest.Header>()), ("sizeof(struct virtio_blk_outhdr)", BlockProtocol.HeaderLength),
        ("offsetof(struct virtio_blk_outhdr, sector)", Marshal.OffsetOf<BlockRequest.Header>(nameof(BlockRequest.Header.Sector))),
        ("sizeof(struct virtio_blk_discard_write_zeroes)", Unsafe.SizeOf<BlockRequest.Segment>()),
        ("offsetof(struct virtio_blk_discard_write_zeroes, num_sectors)", Marshal.OffsetOf<BlockRequest.Segment>(nameof(BlockRequest.Segment.Sectors))),
        ("offsetof(struct virtio_blk_discard_write_zeroes, flags)", Marshal.OffsetOf<BlockRequest.Segment>(nameof(BlockRequest.Segment.Flags))),
        ("VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP", BlockProtocol.SegmentUnmapFlag), ("VIRTIO_BLK_ID_BYTES", BlockProtocol.IdLength),
        ("VIRTIO_BLK_T_IN", (long)BlockRequestType.In), ("VIRTIO_BLK_T_OUT", (long)BlockRequestType.Out), ("VIRTIO_BLK_T_FLUSH", (long)BlockRequestType.Flush),
        ("VIRTIO_BLK_T_GET_ID", (long)BlockRequestType.GetId), ("VIRTIO_BLK_T_DISCARD", (long)BlockRequestType.Discard),
        ("VIRTIO_BLK_T_WRITE_ZEROES", (long)BlockRequestType.WriteZeroes), ("VIRTIO_BLK_S_OK", (long)BlockStatus.Ok),
        ("VIRTIO_BLK_S_IOERR", (long)BlockStatus.IoError), ("VIRTIO_BLK_S_UNSUPP", (long)BlockStatus.Unsupported),
    ];

    private static readonly (string C, long Ours)[] ConsoleAndBalloon =
    [
        ("1L << VIRTIO_CONSOLE_F_SIZE", (long)ConsoleProtocol.FeatureSize), ("1L << VIRTIO_CONSOLE_F_MULTIPORT", (long)ConsoleProtocol.FeatureMultiport),
        ("sizeof(struct virtio_console_config)", ConsoleProtocol.ConfigLength), ("offsetof(struct virtio_console_config, cols)", ConsoleProtocol.ConfigSize),
        ("offsetof(struct virtio_console_config, max_nr_ports)", ConsoleProtocol.ConfigPortsMax),
        ("sizeof(struct virtio_console_control)", Unsafe.SizeOf<ConsoleControl>()),
        ("offsetof(struct virtio_console_control, event)", Marshal.OffsetOf<ConsoleControl>(nameof(ConsoleControl.Event))),
        ("offsetof(struct virtio_console_control, value)", Marshal.OffsetOf<ConsoleControl>(nameof(ConsoleControl.Value))),
        ("VIRTIO_CONSOLE_DEVICE_READY", (long)ConsoleEvent.DeviceReady), ("VIRTIO_CONSOLE_PORT_ADD", (long)ConsoleEvent.DeviceAdd),
        ("VIRTIO_CONSOLE_PORT_REMOVE", (long)ConsoleEvent.DeviceRemove), ("VIRTIO_CONSOLE_PORT_READY", (long)ConsoleEvent.PortReady),
        ("VIRTIO_CONSOLE_CONSOLE_PORT", (long)ConsoleEvent.ConsolePort), ("VIRTIO_CONSOLE_RESIZE", (long)ConsoleEvent.Resize),
        ("VIRTIO_CONSOLE_PORT_OPEN", (long)ConsoleEvent.PortOpen), ("VIRTIO_CONSOLE_PORT_NAME", (long)ConsoleEvent.PortName),
        ("1L << VIRTIO_BALLOON_F_STATS_VQ", (long)BalloonProtocol.FeatureStatistics),
        ("1L << VIRTIO_BALLOON_F_DEFLATE_ON_OOM", (long)BalloonProtocol.FeatureDeflateOnOom),
        ("1L << VIRTIO_BALLOON_F_REPORTING", (long)BalloonProtocol.FeatureReporting), ("1L << VIRTIO_BALLOON_PFN_SHIFT", (long)BalloonProtocol.PageBytes),
        ("sizeof(struct virtio_balloon_config)", BalloonProtocol.ConfigLength), ("offsetof(struct virtio_balloon_config, num_pages)", BalloonProtocol.ConfigTarget),
        ("offsetof(struct virtio_balloon_config, actual)", BalloonProtocol.ConfigActual),
        ("sizeof(struct virtio_balloon_stat)", Unsafe.SizeOf<BalloonStatisticEntry>()),
        ("offsetof(struct virtio_balloon_stat, val)", Marshal.OffsetOf<BalloonStatisticEntry>(nameof(BalloonStatisticEntry.Value))),
        ("VIRTIO_BALLOON_S_SWAP_IN", (long)BalloonStatistic.SwapInBytes), ("VIRTIO_BALLOON_S_SWAP_OUT", (long)BalloonStatistic.SwapOutBytes),
        ("VIRTIO_BALLOON_S_MAJFLT", (long)BalloonStatistic.MajorFaults), ("VIRTIO_BALLOON_S_MINFLT", (long)BalloonStatistic.MinorFaults),
        ("VIRTIO_BALLOON_S_MEMFREE", (long)BalloonStatistic.FreeBytes), ("VIRTIO_BALLOON_S_MEMTOT", (long)BalloonStatistic.TotalBytes),
        ("VIRTIO_BALLOON_S_AVAIL", (long)BalloonStatistic.AvailableBytes), ("VIRTIO_BALLOON_S_CACHES", (long)BalloonStatistic.DiskCacheBytes),
        ("VIRTIO_BALLOON_S_HTLB_PGALLOC", (long)BalloonStatistic.HugePageAllocations), ("VIRTIO_BALLOON_S_HTLB_PGFAIL", (long)BalloonStatistic.HugePageFailures),
    ];

    private static readonly (string C, long Ours)[] Files =
    [
        ("O_RDWR", FileCalls.O_RDWR), ("O_RDONLY", FileCalls.O_RDONLY), ("O_CLOEXEC", FileCalls.O_CLOEXEC), ("O_NONBLOCK", FileCalls.O_NONBLOCK),
        ("FALLOC_FL_KEEP_SIZE", FileCalls.FALLOC_FL_KEEP_SIZE), ("FALLOC_FL_PUNCH_HOLE", FileCalls.FALLOC_FL_PUNCH_HOLE),
        ("FALLOC_FL_ZERO_RANGE", FileCalls.FALLOC_FL_ZERO_RANGE), ("RWF_DSYNC", FileCalls.RWF_DSYNC), ("F_OFD_SETLK", FileCalls.F_OFD_SETLK), ("F_OFD_GETLK", FileCalls.F_OFD_GETLK),
        ("F_UNLCK", FileCalls.F_UNLCK), ("O_EXCL", FileCalls.O_EXCL), ("O_PATH", FileCalls.O_PATH), ("BLKROGET", FileCalls.BLKROGET), ("BLKSSZGET", FileCalls.BLKSSZGET),
        ("BLKPBSZGET", FileCalls.BLKPBSZGET), ("BLKGETZONESZ", FileCalls.BLKGETZONESZ), ("LOOP_GET_STATUS64", FileCalls.LOOP_GET_STATUS64),
        ("sizeof(struct loop_info64)", Unsafe.SizeOf<LoopStatus>()), ("offsetof(struct loop_info64, lo_inode)", (long)Marshal.OffsetOf<LoopStatus>(nameof(LoopStatus.Inode))),
        ("F_RDLCK", FileCalls.F_RDLCK), ("F_WRLCK", FileCalls.F_WRLCK), ("SEEK_END", FileCalls.SEEK_END), ("IOV_MAX", FileCalls.VectorsMax),
        ("sizeof(struct flock)", Unsafe.SizeOf<FileLock>()), ("offsetof(struct flock, l_type)", Offset(nameof(FileLock.Type))),
        ("offsetof(struct flock, l_whence)", Offset(nameof(FileLock.Whence))), ("offsetof(struct flock, l_start)", Offset(nameof(FileLock.Start))),
        ("offsetof(struct flock, l_len)", Offset(nameof(FileLock.Length))), ("offsetof(struct flock, l_pid)", Offset(nameof(FileLock.Owner))),
    ];

    [Fact]
    public void Numbers_are_those_of_the_headers()
    {
        (string C, long Ours)[] all = [.. Registers, .. Virtio, .. Block, .. ConsoleAndBalloon, .. Files];
        IReadOnlyDictionary<string, long> theirs = KernelHeaders.Evaluate(Headers, [.. all.Select(value => value.C).Distinct()]);
        Assert.All(all, value => Assert.True(theirs[value.C] == value.Ours, $"{value.C} is {theirs[value.C]} in C, {value.Ours} here"));
    }

    [Fact]
    public void Feature_bits_have_the_names_of_the_headers()
    {
        // Not in the headers of every distribution.
        string[] newer = ["NOTIFICATION_DATA", "NOTIF_CONFIG_DATA", "GUEST_USO4", "GUEST_USO6", "HOST_USO", "GUEST_HDRLEN", "LIFETIME", "STREAM"];
        (string C, long Bit)[] all = [.. FeatureNames.All.Where(feature => !newer.Contains(feature.Name)).Select(feature => (Prefix(feature.Type, feature.Bit) + feature.Name, (long)feature.Bit))];
        IReadOnlyDictionary<string, long> theirs = KernelHeaders.Evaluate([.. Headers, "linux/virtio_net.h", "linux/virtio_vsock.h"], [.. all.Select(value => value.C)]);
        Assert.All(all, value => Assert.Equal(theirs[value.C], value.Bit));
        Assert.Equal(["FLUSH", "INDIRECT_DESC", "VERSION_1", "bit 41"], FeatureNames.Of(VirtioDeviceType.Block, 1UL << 9 | 1UL << 28 | 1UL << 32 | 1UL << 41));

        static string Prefix(VirtioDeviceType? type, int bit) => type switch
        {
            VirtioDeviceType.Network => "VIRTIO_NET_F_",
            VirtioDeviceType.Block => "VIRTIO_BLK_F_",
            VirtioDeviceType.Console => "VIRTIO_CONSOLE_F_",
            VirtioDeviceType.Balloon => "VIRTIO_BALLOON_F_",
            VirtioDeviceType.Socket => "VIRTIO_VSOCK_F_",
            _ => bit is 28 or 29 ? "VIRTIO_RING_F_" : "VIRTIO_F_",
        };
    }

    private static long Offset(string field) => Marshal.OffsetOf<FileLock>(field);
}
