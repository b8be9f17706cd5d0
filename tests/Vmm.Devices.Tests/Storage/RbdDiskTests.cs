using System.Diagnostics;
using Vmm.Devices.Simulation;
using Vmm.Devices.Tests.VhostUser;

namespace Vmm.Devices.Tests;

/// <summary>Images of a real cluster, and what goes wrong with it.</summary>
[Collection(Alone.Name)]
public sealed class RbdDiskTests
{
    private const int Bytes = 1 << 20;
    private static readonly TimeSpan Long = TimeSpan.FromSeconds(60);

    private static CephCluster Cluster => CephCluster.Shared;

    public static TheoryData<string> Checks => new(BackendBattery.Checks);

    [Theory, MemberData(nameof(Checks))]
    public void An_image_passes_the_battery(string check)
    {
        string image = Cluster.Create(Bytes);
        new BackendBattery(() => RbdDisk.Open(Cluster.Uri(image), readOnly: false, Long)).Run(check);
        Cluster.Rbd("rm", image);
    }

    [Fact]
    public void What_is_written_is_there_for_another_client_and_the_other_way_round()
    {
        string image = Cluster.Create(Bytes);
        byte[] data = BlockGuest.Pattern(Bytes);
        using (SimulatedGuest guest = Guest(image)) Ok(guest, guest.Queue(0).Write(0, data), guest.Queue(0).Ask(BlockRequestType.Flush));
        using ScratchImage copy = new(0);
        Cluster.Rbd("export", "--no-progress", image, copy.Path + ".rbd");
        Assert.Equal(data, File.ReadAllBytes(copy.Path + ".rbd"));
        byte[] other = BlockGuest.Pattern(Bytes, 2);
        File.WriteAllBytes(copy.Path + ".rbd", other);
        Cluster.Rbd("import", "--no-progress", copy.Path + ".rbd", image + "-2");
        File.Delete(copy.Path + ".rbd");
        using SimulatedGuest second = Guest(image + "-2");
        DriverRequest read = second.Queue(0).Read(0, Bytes / 512);
        Ok(second, read);
        Assert.Equal(other, read.Data());
    }

    [Fact]
    public void A_resize_is_seen_by_the_guest()
    {
        string image = Cluster.Create(Bytes);
        using SimulatedGuest guest = Guest(image);
        Cluster.Rbd("resize", "--no-progress", "--size", $"{4 * Bytes}B", image);
        guest.RunUntil(() => guest.Driver.ReadConfig<ulong>(0) == 4 * Bytes / 512);
        Assert.True(guest.ConfigInterrupts > 0);
        Ok(guest, guest.Queue(0).Write((4 * Bytes / 512) - 1, new byte[512]));
        Cluster.Rbd("resize", "--no-progress", "--allow-shrink", "--size", $"{Bytes}B", image);
        guest.RunUntil(() => guest.Driver.ReadConfig<ulong>(0) == Bytes / 512);
        DriverRequest gone = guest.Queue(0).Read(Bytes / 512);
        guest.Kick(0).RunUntil(() => gone.IsUsed);
        Assert.Equal(BlockStatus.IoError, gone.Status());
    }

    [Fact]
    public void A_snapshot_is_read_as_it_was_and_never_written()
    {
        string image = Cluster.Create(Bytes);
        byte[] data = BlockGuest.Pattern(4096);
        using (SimulatedGuest guest = Guest(image)) Ok(guest, guest.Queue(0).Write(0, data));
        Cluster.Rbd("snap", "create", "--no-progress", $"{image}@then");
        using (SimulatedGuest guest = Guest(image)) Ok(guest, guest.Queue(0).Write(0, new byte[4096]));
        string snapshot = Cluster.Uri(image + "@then");
        Assert.Contains("a snapshot cannot be written", Refusal(snapshot, readOnly: false), StringComparison.Ordinal);
        using SimulatedGuest reader = SimulatedGuest.For(new BlockDevice("vda", RbdDisk.Open(snapshot, readOnly: true, Long)));
        DriverRequest read = reader.Queue(0).Read(0, 8), write = reader.Queue(0).Write(0, data);
        reader.Kick(0).RunUntil(() => read.IsUsed && write.IsUsed);
        Assert.Equal((BlockStatus.Ok, BlockStatus.IoError), (read.Status(), write.Status()));
        Assert.Equal(data, read.Data());
    }

    [Fact]
    public void An_image_has_one_writer_and_any_number_of_readers()
    {
        string image = Cluster.Create(Bytes);
        using SimulatedGuest guest = Guest(image);
        Ok(guest, guest.Queue(0).Write(0, new byte[512]));
        Assert.Contains("another client has locked the image", Refusal(Cluster.Uri(image), readOnly: false), StringComparison.Ordinal);
        RbdDisk.Open(Cluster.Uri(image), readOnly: true, Long).Dispose();
        Ok(guest, guest.Queue(0).Write(0, new byte[512]));
        Assert.Contains("watchers", Assert.Throws<InvalidOperationException>(() =>
            Cluster.Rbd("rm", "--no-progress", image)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_discard_gives_room_back()
    {
        string image = Cluster.Create(32 * Bytes);
        using SimulatedGuest guest = Guest(image);
        for (int at = 0; at < 32; at++) Ok(guest, guest.Queue(0).Write((ulong)at * Bytes / 512, BlockGuest.Pattern(Bytes, at)));
        Ok(guest, guest.Queue(0).Ask(BlockRequestType.Flush));
        string full = Cluster.Rbd("du", "--exact", image);
        Ok(guest, guest.Queue(0).Segment(BlockRequestType.Discard, 0, 32 * Bytes / 512), guest.Queue(0).Ask(BlockRequestType.Flush));
        Assert.Contains("32 MiB", full.Split('\n')[1].Split("32 MiB", 2)[1], StringComparison.Ordinal);
        Assert.Contains("0 B", Cluster.Rbd("du", "--exact", image), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("no-such-image", "there is no image 'no-such-image' in pool 'rbd'")]
    [InlineData("../no-such-pool", "there is no pool")]
    public void What_is_not_there_is_named(string name, string sentence)
    {
        string uri = name.StartsWith("..", StringComparison.Ordinal) ? $"rbd:nowhere/x?conf={Cluster.Configuration}" : Cluster.Uri(name);
        Assert.Contains(sentence, Refusal(uri, readOnly: false), StringComparison.Ordinal);
    }

    [Fact]
    public void A_configuration_that_is_not_there_is_named() =>
        Assert.Contains("the configuration '/no/such.conf' cannot be "
            + "read", Refusal("rbd:a/b?conf=/no/such.conf", readOnly: false), StringComparison.Ordinal);

    [Fact]
    public void A_cluster_that_does_not_answer_is_an_error_within_bounds()
    {
        using ScratchImage file = new(0);
        File.WriteAllText(file.Path, "[global]\nmon host = 127.0.0.1:9\nauth client required = none\n");
        Stopwatch clock = Stopwatch.StartNew();
        Assert.Contains("no monitor of the cluster answers within 10 "
            + "s", Refusal($"rbd:a/b?conf={file.Path}", readOnly: false), StringComparison.Ordinal);
        // Room for a busy machine, and less than the bound of an image.
        Assert.InRange(clock.Elapsed, TimeSpan.FromSeconds(5), TimeSpan.FromSeconds(28));
    }

    [Fact, Trait("Long", "true")]
    public void A_cluster_whose_OSDs_do_not_answer_is_an_error_within_bounds()
    {
        string image = Cluster.Create(Bytes);
        Cluster.Signal("osd.0", "STOP");
        Stopwatch clock = Stopwatch.StartNew();
        try
        {
            Assert.Contains("the cluster did not open it within 30 s: look at 'ceph -s'", Refusal(Cluster.Uri(image), readOnly: false),
                StringComparison.Ordinal);
            Assert.InRange(clock.Elapsed, TimeSpan.FromSeconds(29), TimeSpan.FromSeconds(60));
        }
        finally
        {
            Cluster.Signal("osd.0", "CONT");
        }
        // What was opened late is closed again: its lock is free in the end.
        RbdDisk? disk = null;
        while (disk is null && clock.Elapsed < TimeSpan.FromMinutes(4))
        {
            try
            {
                disk = RbdDisk.Open(Cluster.Uri(image), readOnly: false, Long);
            }
            catch (DiskImageException refused)
            {
                Assert.Matches("another client has locked the image|did not open it within", refused.Message);
            }
        }
        Assert.NotNull(disk);
        disk.Dispose();
    }

    [Theory]
    [InlineData("osd.0")]
    [InlineData("mon.a")]
    public void Requests_wait_for_a_daemon_that_stands_still(string daemon)
    {
        string image = Cluster.Create(Bytes);
        using SimulatedGuest guest = Guest(image);
        byte[] data = BlockGuest.Pattern(64 * 1024);
        Ok(guest, guest.Queue(0).Write(0, new byte[64 * 1024]));
        Cluster.Signal(daemon, "STOP");
        DriverRequest write = guest.Queue(0).Write(0, data);
        try
        {
            guest.Kick(0);
            for (Stopwatch clock = Stopwatch.StartNew(); clock.Elapsed < TimeSpan.FromSeconds(2);)
                guest.Reactor.RunOnce(TimeSpan.FromMilliseconds(50));
        }
        finally
        {
            Cluster.Signal(daemon, "CONT");
        }
        guest.RunUntil(() => write.IsUsed);
        DriverRequest read = guest.Queue(0).Read(0, 128);
        Ok(guest, write, read);
        Assert.Equal(data, read.Data());
    }

    [Fact]
    public void A_request_that_waited_too_long_is_an_error()
    {
        string image = Cluster.Create(Bytes);
        RecordingLogger log = new();
        using SimulatedGuest guest = SimulatedGuest.For(
            new BlockDevice("vda", RbdDisk.Open(Cluster.Uri(image), readOnly: false, TimeSpan.FromSeconds(1))) { Logger = log });
        // What was never written is known to read as zero, without an OSD.
        Ok(guest, guest.Queue(0).Write(0, new byte[512]));
        Ok(guest, guest.Queue(0).Ask(BlockRequestType.Flush));
        Cluster.Signal("osd.0", "STOP");
        try
        {
            DriverRequest read = guest.Queue(0).Read(0);
            guest.Kick(0).RunUntil(() => read.IsUsed);
            Assert.Equal(BlockStatus.IoError, read.Status());
        }
        finally
        {
            Cluster.Signal("osd.0", "CONT");
        }
        DriverRequest again = guest.Queue(0).Read(0);
        guest.Kick(0).RunUntil(() => again.IsUsed);
        Assert.Contains(log.Lines, line => line.Contains("cannot read from the disk, RBD image", StringComparison.Ordinal));
    }

    [Fact]
    public void A_write_is_answered_by_the_write_cache_of_librbd_from_the_first_one_on()
    {
        string image = Cluster.Create(Bytes);
        using SimulatedGuest guest = Guest(image);
        Ok(guest, guest.Queue(0).Write(0, new byte[512]));
        byte[] data = BlockGuest.Pattern(512);
        Cluster.Signal("osd.0", "STOP");
        try
        {
            // No driver has flushed yet. At another place: a write waits for one of the same blocks that is on its way.
            Ok(guest, guest.Queue(0).Write(64, data));
        }
        finally
        {
            Cluster.Signal("osd.0", "CONT");
        }
        DriverRequest read = guest.Queue(0).Read(64);
        Ok(guest, guest.Queue(0).Ask(BlockRequestType.Flush), read);
        Assert.Equal(data, read.Data());
    }

    [Fact]
    public void A_flush_that_lost_answered_writes_fails_from_then_on()
    {
        string image = Cluster.Create(Bytes);
        using SimulatedGuest guest = Guest(image, TimeSpan.FromSeconds(1));
        Ok(guest, guest.Queue(0).Write(0, new byte[512]));
        Ok(guest, guest.Queue(0).Ask(BlockRequestType.Flush));
        Cluster.Signal("osd.0", "STOP");
        try
        {
            // librbd answers it, and gives it up later.
            Ok(guest, guest.Queue(0).Write(0, BlockGuest.Pattern(512)));
            Assert.Equal(BlockStatus.IoError, Flush(guest));
        }
        finally
        {
            Cluster.Signal("osd.0", "CONT");
        }
        DriverRequest read;
        Stopwatch clock = Stopwatch.StartNew();
        do
        {
            read = guest.Queue(0).Read(0);
            guest.Kick(0).RunUntil(() => read.IsUsed);
        }
        while (read.Status() != BlockStatus.Ok && clock.Elapsed < TimeSpan.FromMinutes(4));
        Assert.Equal(BlockStatus.Ok, read.Status());
        // The cluster is back, and what was answered may not be there: no flush says otherwise.
        Assert.Equal(BlockStatus.IoError, Flush(guest));
        Assert.Equal(BlockStatus.IoError, Flush(guest));
    }

    [Fact]
    public void Requests_allocate_nothing_on_the_reactors_thread()
    {
        string image = Cluster.Create(Bytes);
        using SimulatedGuest guest = Guest(image);
        SteadyDisk.AllocatesNothing(guest, requests: 2_000);
    }

    private static SimulatedGuest Guest(string image) => Guest(image, Timeout.InfiniteTimeSpan);

    private static SimulatedGuest Guest(string image, TimeSpan patience) => SimulatedGuest.For(
        new BlockDevice("vda", RbdDisk.Open(Cluster.Uri(image), readOnly: false, patience)),
        // A daemon that stood still on a busy machine was declared dead, and joins its cluster anew first.
        new SimulatedGuestOptions { MemoryBytes = 64 << 20, IdlePatience = TimeSpan.FromMinutes(4) });

    private static BlockStatus Flush(SimulatedGuest guest)
    {
        DriverRequest flush = guest.Queue(0).Ask(BlockRequestType.Flush);
        guest.Kick(0).RunUntil(() => flush.IsUsed);
        return flush.Status();
    }

    private static void Ok(SimulatedGuest guest, params DriverRequest[] requests)
    {
        guest.Kick(0).RunUntil(() => requests.All(request => request.IsUsed));
        Assert.All(requests, request => Assert.Equal(BlockStatus.Ok, request.Status()));
    }

    private static string Refusal(string uri, bool readOnly) =>
        Assert.Throws<DiskImageException>(() => RbdDisk.Open(uri, readOnly, Long).Dispose()).Message;
}
