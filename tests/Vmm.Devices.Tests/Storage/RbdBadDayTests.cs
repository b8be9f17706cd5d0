using System.Diagnostics;
using Vmm.Devices.Simulation;
using Vmm.Devices.Tests.VhostUser;

namespace Vmm.Devices.Tests;

/// <summary>What goes wrong with a cluster while it is up: no room, no right, no image.</summary>
[Collection(Alone.Name)]
public sealed class RbdBadDayTests
{
    private const int Bytes = 1 << 20;
    private static readonly TimeSpan Long = TimeSpan.FromSeconds(60);

    private static CephCluster Cluster => CephCluster.Shared;

    [Fact]
    public void A_client_without_the_right_key_is_refused_in_a_sentence()
    {
        string keys = Cluster.PathOf("wrong");
        CephCluster.Run("ceph-authtool", "--create-keyring", keys, "--gen-key", "-n", "client.admin");
        string configuration = Cluster.ConfigurationWith("keyring =", $"keyring = {keys}");
        Assert.Contains("the cluster does not accept client.admin", Refusal($"rbd:rbd/x?conf={configuration}"), StringComparison.Ordinal);
        Assert.Contains("the cluster does not accept client.stranger", Refusal(Cluster.Uri("x", "&id=stranger")), StringComparison.Ordinal);
    }

    [Fact]
    public void A_client_without_the_right_to_an_image_is_refused_in_a_sentence()
    {
        string image = Cluster.Create(Bytes);
        // It may look at the cluster, and at no pool.
        AddClient("client.weak", "mon", "profile rbd");
        Assert.Contains("client.weak may not open it", Refusal(Cluster.Uri(image, "&id=weak")), StringComparison.Ordinal);
        // It may read, which is enough for a disk that is read-only.
        AddClient("client.reader", "mon", "profile rbd", "osd", "profile rbd-read-only pool=rbd");
        Assert.Contains("client.reader may not open it for writing", Refusal(Cluster.Uri(image, "&id=reader")), StringComparison.Ordinal);
        RbdDisk.Open(Cluster.Uri(image, "&id=reader"), readOnly: true, Long).Dispose();
        // What docs/storage.md says that it takes.
        AddClient("client.vmm", "mon", "profile rbd", "osd", "profile rbd pool=rbd");
        RbdDisk.Open(Cluster.Uri(image, "&id=vmm"), readOnly: false, Long).Dispose();
    }

    [Fact]
    public void A_full_cluster_stalls_writes_until_there_is_room_and_reads_go_on()
    {
        string image = Cluster.Create(Bytes), hasty = Cluster.Create(Bytes);
        using SimulatedGuest guest = Guest(image, Timeout.InfiniteTimeSpan), other = Guest(hasty, TimeSpan.FromSeconds(1));
        byte[] data = BlockGuest.Pattern(64 * 1024);
        Ok(guest, guest.Queue(0).Write(0, data), guest.Queue(0).Ask(BlockRequestType.Flush));
        Ok(other, other.Queue(0).Write(0, data), other.Queue(0).Ask(BlockRequestType.Flush));
        string ballast = Cluster.PathOf("ballast");
        File.WriteAllBytes(ballast, new byte[80 << 20]);
        Cluster.Rados("put", "ballast", ballast);
        SetFullAt("0.05");
        try
        {
            Await("the cluster is full", () => Cluster.Ceph("osd", "dump").Contains("full,up", StringComparison.Ordinal));
            // Requests of a disk with a patience fail after it, once the OSD too has learned that the cluster is full.
            Await("a write to fail", () =>
            {
                DriverRequest hastyWrite = other.Queue(0).Write(128, data), hastyFlush = other.Queue(0).Ask(BlockRequestType.Flush);
                other.Kick(0).RunUntil(() => hastyWrite.IsUsed && hastyFlush.IsUsed);
                return hastyWrite.Status() == BlockStatus.IoError || hastyFlush.Status() == BlockStatus.IoError;
            });
            DriverRequest write = guest.Queue(0).Write(128, data), flush = guest.Queue(0).Ask(BlockRequestType.Flush);
            guest.Kick(0);
            DriverRequest read = guest.Queue(0).Read(0, 128);
            Ok(guest, read);
            Assert.Equal(data, read.Data());
            Assert.False(write.IsUsed && flush.IsUsed);
            Cluster.Rados("rm", "ballast", "--force-full");
            guest.RunUntil(() => write.IsUsed && flush.IsUsed);
            Ok(guest, write, flush);
        }
        finally
        {
            SetFullAt("0.95");
        }
        Await("there is room", () => !Cluster.Ceph("osd", "dump").Contains("full,up", StringComparison.Ordinal));
    }

    [Fact]
    public void An_image_that_is_taken_away_and_deleted_costs_its_own_disk_only()
    {
        string image = Cluster.Create(Bytes), neighbour = Cluster.Create(Bytes);
        RecordingLogger log = new();
        using SimulatedGuest guest = Guest(image, Timeout.InfiniteTimeSpan, log), other = Guest(neighbour, Timeout.InfiniteTimeSpan);
        Ok(guest, guest.Queue(0).Write(0, new byte[512]), guest.Queue(0).Ask(BlockRequestType.Flush));
        // As long as it is open nothing else can delete it; an operator who means it shuts the client out first.
        string watcher = Cluster.Rbd("status", image).Split("watcher=")[1].Split(' ')[0];
        Cluster.Ceph("osd", "blocklist", "add", watcher);
        DriverRequest[] lost = [guest.Queue(0).Write(0, new byte[512]), guest.Queue(0).Ask(BlockRequestType.Flush), guest.Queue(0).Read(0)];
        guest.Kick(0).RunUntil(() => lost.All(request => request.IsUsed));
        Assert.Contains(BlockStatus.IoError, lost.Select(request => request.Status()));
        Assert.Contains(log.Lines, line => line.Contains("on its blocklist", StringComparison.Ordinal));
        Await("it can be deleted", () => !Cluster.Rbd("status", image).Contains("watcher=", StringComparison.Ordinal));
        Cluster.Rbd("rm", "--no-progress", image);
        DriverRequest gone = guest.Queue(0).Read(8);
        guest.Kick(0).RunUntil(() => gone.IsUsed);
        Assert.Equal(BlockStatus.IoError, gone.Status());
        Ok(other, other.Queue(0).Write(0, new byte[512]), other.Queue(0).Ask(BlockRequestType.Flush));
        Assert.Contains("there is no image", Refusal(Cluster.Uri(image)), StringComparison.Ordinal);
    }

    private static void AddClient(string name, params string[] rights)
    {
        string keys = Cluster.Ceph(["auth", "get-or-create", name, .. rights]);
        File.AppendAllText(Cluster.PathOf("keyring"), keys);
    }

    private static void SetFullAt(string ratio)
    {
        foreach (string which in (string[])["nearfull", "backfillfull", "full"]) Cluster.Ceph("osd", $"set-{which}-ratio", ratio);
    }

    private static void Await(string what, Func<bool> condition)
    {
        for (Stopwatch clock = Stopwatch.StartNew(); !condition(); Thread.Sleep(200)) Assert.True(clock.Elapsed < Long, $"never: {what}");
    }

    private static SimulatedGuest Guest(string image, TimeSpan patience, RecordingLogger? log = null) => SimulatedGuest.For(
        new BlockDevice("vda", RbdDisk.Open(Cluster.Uri(image), readOnly: false, patience)) { Logger = log ?? new RecordingLogger() },
        new SimulatedGuestOptions { MemoryBytes = 64 << 20, IdlePatience = TimeSpan.FromMinutes(4) });

    private static void Ok(SimulatedGuest guest, params DriverRequest[] requests)
    {
        guest.Kick(0).RunUntil(() => requests.All(request => request.IsUsed));
        Assert.All(requests, request => Assert.Equal(BlockStatus.Ok, request.Status()));
    }

    private static string Refusal(string uri) =>
        Assert.Throws<DiskImageException>(() => RbdDisk.Open(uri, readOnly: false, Long).Dispose()).Message;
}
