using System.Text.Json;
using System.Text.RegularExpressions;
using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests;

/// <summary>
/// A write of a disk that is written through is durable before it completes, whatever the storage. Of raw files the power cuts show it:
/// <c>UmlPowerCutTests</c>.
/// </summary>
[Collection(Alone.Name)]
public sealed partial class WriteThroughTests
{
    private const int Bytes = 1 << 20;
    private const int Writes = 20;
    private static readonly TimeSpan Long = TimeSpan.FromSeconds(60);
    private static readonly DiskSpec WriteThrough = new() { Cache = DiskCache.WriteThrough };

    [Fact]
    public void What_a_backend_is_asked_for_is_durable_when_it_completes()
    {
        FaultyBackend storage = new();
        using SimulatedGuest guest = SimulatedGuest.For(new BlockDevice("vda", storage, WriteThrough));
        byte[] data = BlockGuest.Pattern(512);
        Ok(guest, guest.Queue(0).Write(3, data));
        Assert.Equal(data, storage.DurableSector(3));
        Ok(guest, guest.Queue(0).Segment(BlockRequestType.WriteZeroes, 3, 1));
        Assert.Equal(new byte[512], storage.DurableSector(3));
        // With a cache it takes a flush.
        using SimulatedGuest cached = SimulatedGuest.For(new BlockDevice("vdb", storage));
        Ok(cached, cached.Queue(0).Write(4, data));
        Assert.Equal(new byte[512], storage.DurableSector(4));
        Ok(cached, cached.Queue(0).Ask(BlockRequestType.Flush));
        Assert.Equal(data, storage.DurableSector(4));
    }

    [Fact]
    public void Each_write_to_an_NBD_server_has_FUA_and_was_answered_before_it_completes()
    {
        using ScratchImage log = new(0);
        using ServerProcess server = ServerProcess.Nbdkit("--filter=log", "memory", "1M", $"logfile={log.Path}");
        using SimulatedGuest guest = Guest(server.Uri);
        for (int i = 0; i < Writes; i++)
        {
            Ok(guest, guest.Queue(0).Write((ulong)i, new byte[512]));
            string[] lines = File.ReadAllLines(log.Path);
            // The server's line of its answer follows the answer: all but the last write is in the log.
            Assert.Equal(i + 1, lines.Count(line => DurableWrite().IsMatch(line)));
            Assert.InRange(lines.Count(line => Answered().IsMatch(line)), i, i + 1);
        }
        Assert.DoesNotContain(File.ReadAllLines(log.Path), line => line.Contains(" Flush ", StringComparison.Ordinal));
    }

    [Fact]
    public void A_write_to_a_server_without_FUA_completes_after_the_flush_that_follows_it()
    {
        using ManualResetEventSlim gate = new();
        using NbdTestServer server = new(Bytes) { Flags = NbdFlags.HasFlags | NbdFlags.SendFlush };
        server.Lie = (request, _) =>
        {
            if (request.Command == NbdCommand.Flush) gate.Wait(Long);
            return false;
        };
        using SimulatedGuest guest = Guest(server.Uri);
        DriverRequest write = guest.Queue(0).Write(0, new byte[512]);
        guest.Kick(0).RunUntil(() => server.Seen(NbdCommand.Flush).Length == 1);
        for (int turn = 0; turn < 20; turn++) guest.Reactor.RunOnce(TimeSpan.FromMilliseconds(5));
        Assert.False(write.IsUsed);
        gate.Set();
        Ok(guest, write);
    }

    [Fact]
    public void Each_write_to_an_RBD_image_is_flushed_before_it_completes()
    {
        CephCluster cluster = CephCluster.Shared;
        string image = cluster.Create(Bytes), socket = cluster.PathOf("through.asok");
        string configuration = cluster.ConfigurationWith("admin socket =", $"admin socket = {socket}");
        string uri = $"rbd:rbd/{image}?conf={configuration}";
        using (SimulatedGuest guest = SimulatedGuest.For(new BlockDevice("vda", RbdDisk.Open(uri, readOnly: false, Long), WriteThrough)))
        {
            (long writes, long flushes) before = Counters(socket);
            for (int i = 1; i <= Writes; i++)
            {
                Ok(guest, guest.Queue(0).Write((ulong)i, new byte[512]));
                Assert.Equal((before.writes + i, before.flushes + i), Counters(socket));
            }
        }
        using SimulatedGuest cached = SimulatedGuest.For(new BlockDevice("vda", RbdDisk.Open(uri, readOnly: false, Long)));
        (long writes, long flushes) cachedBefore = Counters(socket);
        Ok(cached, cached.Queue(0).Write(0, new byte[512]));
        Assert.Equal((cachedBefore.writes + 1, cachedBefore.flushes), Counters(socket));
    }

    /// <summary>What librbd itself counts: it answers at a socket of its own.</summary>
    private static (long Writes, long Flushes) Counters(string socket)
    {
        using JsonDocument all = JsonDocument.Parse(CephCluster.Run("ceph", "--admin-daemon", socket, "perf", "dump"));
        JsonElement image = all.RootElement.EnumerateObject().Single(each => each.Name.StartsWith("librbd-", StringComparison.Ordinal)).Value;
        return (image.GetProperty("wr").GetInt64(), image.GetProperty("flush").GetInt64());
    }

    [GeneratedRegex(@" Write id=\d+ offset=0x[0-9a-f]+ count=0x200 fua=1 ", RegexOptions.CultureInvariant)]
    private static partial Regex DurableWrite();

    [GeneratedRegex(@"Write id=\d+ return=0", RegexOptions.CultureInvariant)]
    private static partial Regex Answered();

    private static SimulatedGuest Guest(string uri) =>
        SimulatedGuest.For(new BlockDevice("vda", NbdDisk.Open(uri, readOnly: false, Long), WriteThrough));

    private static void Ok(SimulatedGuest guest, params DriverRequest[] requests)
    {
        guest.Kick(0).RunUntil(() => requests.All(request => request.IsUsed));
        Assert.All(requests, request => Assert.Equal(BlockStatus.Ok, request.Status()));
    }
}
