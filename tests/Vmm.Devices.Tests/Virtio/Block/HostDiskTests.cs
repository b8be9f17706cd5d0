using System.Globalization;
using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests;

/// <summary>
/// Block devices of the host as disks: what they ask for is asked of the guest, and what the guest asks for in parts of it is done all the
/// same.
/// </summary>
[Collection(Alone.Name)]
public sealed class HostDiskTests
{
    private const int DiskBytes = 8 << 20, FirstSector = 64;
    private const string Zram = "/dev/zram0", ZramSize = "/sys/block/zram0/disksize", ZramReset = "/sys/block/zram0/reset";

    public static TheoryData<BlockEngineKind, bool, int, bool> Disks
    {
        get
        {
            TheoryData<BlockEngineKind, bool, int, bool> disks = [];
            foreach (BlockEngineKind engine in Enum.GetValues<BlockEngineKind>())
            {
                foreach (bool direct in (bool[])[false, true])
                {
                    foreach (int sectorBytes in (int[])[512, 4096])
                    {
                        disks.Add(engine, direct, sectorBytes, false);
                        disks.Add(engine, direct, sectorBytes, true);
                    }
                }
            }
            return disks;
        }
    }

    [Theory, MemberData(nameof(Disks))]
    public void A_loop_device_or_its_partition_serves_requests_of_every_alignment(BlockEngineKind engine, bool direct, int sectorBytes, bool partition)
    {
        using ScratchImage scratch = new(DiskBytes);
        using LoopDevice loop = new(scratch.Path, sectorBytes);
        string path = partition ? loop.AddPartition(FirstSector, DiskBytes / 1024) : loop.Path;
        ServeEveryAlignment(path, engine, direct, sectorBytes);
    }

    [Theory]
    [InlineData(BlockEngineKind.Ring, false)]
    [InlineData(BlockEngineKind.Ring, true)]
    [InlineData(BlockEngineKind.Threads, false)]
    [InlineData(BlockEngineKind.Threads, true)]
    [InlineData(BlockEngineKind.Synchronous, false)]
    [InlineData(BlockEngineKind.Synchronous, true)]
    public void A_disk_of_compressed_memory_serves_requests_of_every_alignment(BlockEngineKind engine, bool direct)
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess && File.Exists(ZramSize) && File.ReadAllText(ZramSize).Trim() == "0", "there is no free zram device");
        File.WriteAllText(ZramSize, DiskBytes.ToString(CultureInfo.InvariantCulture));
        try
        {
            ServeEveryAlignment(Zram, engine, direct, sectorBytes: 4096);
        }
        finally
        {
            File.WriteAllText(ZramReset, "1");
        }
    }

    [Fact]
    public void Answers_of_a_thin_volume_are_what_the_guest_is_told()
    {
        // lvm thin, chunks of 64 KiB, on a disk of 512-byte sectors with blocks of 4096.
        HostDiskAnswers thin = new() { LogicalBlock = 512, PhysicalBlock = 4096, DiscardGranularity = 65536, DiscardMax = 1ul << 36 };
        Assert.Null(HostDisk.WhyNot(thin, readOnly: false));
        Assert.Equal(new DiskGeometry(512, 4096, 65536, 512), HostDisk.GeometryOf(thin));
        // dm-crypt without allow_discards, sector_size 4096.
        HostDiskAnswers crypt = new() { LogicalBlock = 4096, PhysicalBlock = 4096 };
        Assert.Equal(new DiskGeometry(4096, 4096, 4096, 4096), HostDisk.GeometryOf(crypt));
        // dm over a RAID whose chunk is no power of two.
        HostDiskAnswers raid = new() { LogicalBlock = 512, PhysicalBlock = 512, DiscardGranularity = 3 << 19, DiscardMax = 1 << 30 };
        Assert.Equal(new DiskGeometry(512, 512, 65536, 512), HostDisk.GeometryOf(raid));
    }

    [Fact]
    public void A_disk_that_can_not_be_one_is_refused_with_what_to_do()
    {
        HostDiskAnswers disk = new() { LogicalBlock = 4096, PhysicalBlock = 4096 };
        // A host-managed SMR disk: zones of 256 MiB.
        Assert.Contains("is a zoned disk", HostDisk.WhyNot(disk with { ZoneSectors = 524288 }, readOnly: true), StringComparison.Ordinal);
        Assert.Contains("is write-protected: attach it read-only", HostDisk.WhyNot(disk with { IsReadOnly = true }, readOnly: false), StringComparison.Ordinal);
        Assert.Null(HostDisk.WhyNot(disk with { IsReadOnly = true }, readOnly: true));
        Assert.Contains("has sectors of 520 bytes", HostDisk.WhyNot(disk with { LogicalBlock = 520 }, readOnly: false), StringComparison.Ordinal);
    }

    private static void ServeEveryAlignment(string path, BlockEngineKind engine, bool direct, int sectorBytes)
    {
        using SimulatedGuest guest = SimulatedGuest.For(
            new BlockDevice("vda", RawImage.Open(path, engine: engine, direct: direct)), new SimulatedGuestOptions { MemoryBytes = 64 << 20 });
        Assert.Equal((uint)sectorBytes, guest.Driver.ReadConfig<uint>(20));
        uint discardBytes = guest.Driver.ReadConfig<uint>(44) * 512;
        Assert.True(discardBytes >= sectorBytes && uint.IsPow2(discardBytes), $"discards of {discardBytes} bytes");
        const int Sectors = 128;
        byte[] model = BlockGuest.Pattern(Sectors * 512);
        Assert.Equal(BlockStatus.Ok, Run(guest, guest.Queue(0).Write(0, model)));
        foreach ((int sector, int count, uint flags) in ((int, int, uint)[])[(1, 1, 0), (7, 10, 0), (16, 8, 0), (33, 30, 1), (64, 16, 1), (127, 1, 1)])
        {
            Assert.Equal(BlockStatus.Ok, Run(guest, guest.Queue(0).Segment(BlockRequestType.WriteZeroes, (ulong)sector, (uint)count, flags)));
            model.AsSpan(sector * 512, count * 512).Clear();
        }
        Assert.Equal(model, Read(guest, Sectors));
        // What a discarded sector reads as is not promised; its neighbours' content is.
        foreach ((int sector, int count) in ((int, int)[])[(1, 1), (41, 10), (80, 8), (96, 30)])
        {
            Assert.Equal(BlockStatus.Ok, Run(guest, guest.Queue(0).Segment(BlockRequestType.Discard, (ulong)sector, (uint)count)));
            Read(guest, Sectors).AsSpan(sector * 512, count * 512).CopyTo(model.AsSpan(sector * 512));
            Assert.Equal(model, Read(guest, Sectors));
        }
        Assert.Equal(BlockStatus.Ok, Run(guest, guest.Queue(0).Ask(BlockRequestType.Flush)));
    }

    private static byte[] Read(SimulatedGuest guest, int sectors)
    {
        DriverRequest read = guest.Queue(0).Read(0, sectors);
        Assert.Equal(BlockStatus.Ok, Run(guest, read));
        return read.Data();
    }

    private static BlockStatus Run(SimulatedGuest guest, DriverRequest request)
    {
        guest.Kick(0).RunUntil(() => request.IsUsed);
        return request.Status();
    }
}
