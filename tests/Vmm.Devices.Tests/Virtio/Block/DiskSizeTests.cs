using System.Diagnostics;
using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests;

/// <summary>A disk that grows or shrinks under its guest.</summary>
[Collection(Alone.Name)]
public sealed class DiskSizeTests : IDisposable
{
    private const int Bytes = 1 << 20, Sectors = Bytes / 512;

    private static readonly TimeSpan FollowsWithin = TimeSpan.FromSeconds(10);

    private readonly ScratchImage _scratch = new(Bytes);

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void A_file_that_grows_is_a_larger_disk_within_a_second_or_so()
    {
        using SimulatedGuest guest = Guest();
        int before = guest.ConfigInterrupts;
        Assert.Equal(BlockStatus.IoError, Read(guest, Sectors));
        Follows(guest, 2 * Bytes);
        guest.RunUntil(() => guest.ConfigInterrupts == before + 1);
        Assert.Equal(BlockStatus.Ok, Read(guest, (2 * Sectors) - 1));
        Assert.Equal(BlockStatus.IoError, Read(guest, 2 * Sectors));
    }

    [Fact]
    public void A_file_that_shrinks_is_a_smaller_disk_by_itself()
    {
        using SimulatedGuest guest = Guest();
        Follows(guest, Bytes / 2);
        Assert.Equal(BlockStatus.IoError, Read(guest, Sectors / 2));
        // Once more: each answer asks the kernel about the next change.
        Follows(guest, Bytes);
        Assert.Equal(BlockStatus.Ok, Read(guest, Sectors - 1));
    }

    [Fact]
    public void A_file_that_shrinks_is_a_smaller_disk_and_what_is_gone_is_an_error()
    {
        using RawImage image = RawImage.Open(_scratch.Path);
        using SimulatedGuest guest = SimulatedGuest.For(new BlockDevice("vda", image));
        Truncate((Bytes / 2) + 100);
        image.Refresh();
        Assert.Equal((ulong)Sectors / 2, guest.Driver.ReadConfig<ulong>(0));
        Assert.Equal(BlockStatus.Ok, Read(guest, (Sectors / 2) - 1));
        foreach (DriverRequest request in (DriverRequest[])
        [
            guest.Queue(0).Read((Sectors / 2) - 1, 2), guest.Queue(0).Write(Sectors / 2, new byte[512]), guest.Queue(0).Segment(BlockRequestType.Discard, Sectors / 2, 1),
            guest.Queue(0).Segment(BlockRequestType.WriteZeroes, Sectors - 1, 1),
        ])
            Assert.Equal(BlockStatus.IoError, Run(guest, request));
        Assert.Equal((Bytes / 2) + 100, new FileInfo(_scratch.Path).Length);
    }

    [Fact]
    public void A_size_that_changes_before_the_driver_is_ready_is_the_one_it_reads()
    {
        using RawImage image = RawImage.Open(_scratch.Path);
        using SimulatedGuest guest = SimulatedGuest.For(new BlockDevice("vda", image), new SimulatedGuestOptions { Start = false });
        Truncate(2 * Bytes);
        image.Refresh();
        Assert.Equal(2u * Sectors, guest.Driver.ReadConfig<ulong>(0));
        guest.Start();
        Assert.Equal(BlockStatus.Ok, Read(guest, (2 * Sectors) - 1));
    }

    [Fact]
    public void A_loop_device_that_is_resized_is_a_resized_disk()
    {
        using LoopDevice loop = new(_scratch.Path);
        using SimulatedGuest guest = SimulatedGuest.For(new BlockDevice("vda", RawImage.Open(loop.Path)));
        Truncate(2 * Bytes);
        HostCommand.Check("losetup", "-c", loop.Path);
        guest.RunUntil(() => guest.Driver.ReadConfig<ulong>(0) == 2 * Sectors);
        Assert.Equal(BlockStatus.Ok, Read(guest, (2 * Sectors) - 1));
        Truncate(Bytes / 2);
        HostCommand.Check("losetup", "-c", loop.Path);
        guest.RunUntil(() => guest.Driver.ReadConfig<ulong>(0) == Sectors / 2);
        Assert.Equal(BlockStatus.Ok, Read(guest, (Sectors / 2) - 1));
        Assert.Equal(BlockStatus.IoError, Read(guest, Sectors / 2));
        Assert.Equal(BlockStatus.IoError, Run(guest, guest.Queue(0).Write(Sectors - 1, new byte[512])));
    }

    [Fact]
    public void A_backend_of_any_kind_resizes_its_disk()
    {
        FaultyBackend disk = new();
        using SimulatedGuest guest = SimulatedGuest.For(new BlockDevice("vda", disk));
        disk.CapacityBytes = 512;
        Assert.Equal(1u, guest.Driver.ReadConfig<ulong>(0));
        Assert.Equal(BlockStatus.IoError, Read(guest, 1));
        disk.CapacityBytes = 1024;
        Assert.Equal(BlockStatus.Ok, Read(guest, 1));
    }

    private SimulatedGuest Guest() => SimulatedGuest.For(new BlockDevice("vda", RawImage.Open(_scratch.Path)));

    /// <summary>Gives the file another size. The disk has it at once, or half a second after the last look; the rest is room for a busy
    /// machine.</summary>
    private void Follows(SimulatedGuest guest, long bytes)
    {
        Truncate(bytes);
        Stopwatch clock = Stopwatch.StartNew();
        while (guest.Driver.ReadConfig<ulong>(0) != (ulong)bytes / 512 && clock.Elapsed < FollowsWithin)
            guest.Reactor.RunOnce(TimeSpan.FromMilliseconds(20));
        Assert.Equal((ulong)bytes / 512, guest.Driver.ReadConfig<ulong>(0));
    }

    private void Truncate(long bytes)
    {
        using FileStream file = new(_scratch.Path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite);
        file.SetLength(bytes);
    }

    private static BlockStatus Read(SimulatedGuest guest, int sector) => Run(guest, guest.Queue(0).Read((ulong)sector));

    private static BlockStatus Run(SimulatedGuest guest, DriverRequest request)
    {
        guest.Kick(0).RunUntil(() => request.IsUsed);
        return request.Status();
    }
}
