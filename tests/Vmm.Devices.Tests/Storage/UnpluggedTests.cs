using System.Diagnostics;
using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests;

/// <summary>The network between a disk and its storage is gone, for a while or for ever; and OSDs and monitors die.</summary>
[Collection(Alone.Name)]
public sealed class UnpluggedTests
{
    private const int Bytes = 1 << 20, ClusterBytes = 16 << 20;
    private static readonly TimeSpan Blackout = TimeSpan.FromSeconds(5), Long = TimeSpan.FromMinutes(2);

    [Fact]
    public void Requests_to_an_NBD_server_go_on_after_five_seconds_without_a_network()
    {
        FarNetwork.SkipWithoutPrivilege();
        using FarNetwork network = new();
        using ServerProcess server = ServerProcess.NbdkitIn(network, "memory", "1M");
        using SimulatedGuest guest = NbdGuest(network, Long);
        VerifiedLoad load = new(guest, Bytes);
        load.Begin();
        load.Finish();
        BlackOut(network, guest, load);
    }

    [Fact, Trait("Long", "true")]
    public void Requests_to_an_NBD_server_fail_when_the_network_stays_away_and_go_on_when_it_is_back()
    {
        FarNetwork.SkipWithoutPrivilege();
        using FarNetwork network = new();
        using ServerProcess server = ServerProcess.NbdkitIn(network, "memory", "1M");
        using SimulatedGuest guest = NbdGuest(network, TimeSpan.FromSeconds(2));
        Ok(guest, guest.Queue(0).Write(0, new byte[512]));
        network.Unplug();
        DriverRequest[] lost = [guest.Queue(0).Read(0), guest.Queue(0).Write(0, new byte[512]), guest.Queue(0).Ask(BlockRequestType.Flush)];
        guest.Kick(0).RunUntil(() => lost.All(request => request.IsUsed));
        Assert.All(lost, request => Assert.Equal(BlockStatus.IoError, request.Status()));
        Stopwatch clock = Stopwatch.StartNew();
        Assert.ThrowsAny<IOException>(() => NbdDisk.Open(Uri(network), readOnly: false, Long).Dispose());
        Assert.InRange(clock.Elapsed, TimeSpan.Zero, TimeSpan.FromSeconds(15));
        network.Plug();
        guest.RunUntil(() => NbdServerGoneTests.Disk(guest).IsConnected);
        Ok(guest, guest.Queue(0).Read(0));
    }

    [Fact, Trait("Long", "true")]
    public void A_cluster_goes_on_after_five_seconds_without_a_network_and_is_an_error_when_it_stays_away()
    {
        FarNetwork.SkipWithoutPrivilege();
        using FarNetwork network = new();
        using CephCluster cluster = new(osds: 1, network);
        string image = cluster.Create(Bytes);
        using (SimulatedGuest guest = RbdGuest(cluster, image, Timeout.InfiniteTimeSpan))
        {
            VerifiedLoad load = new(guest, Bytes);
            load.Begin();
            load.Finish();
            BlackOut(network, guest, load);
        }
        using SimulatedGuest hasty = RbdGuest(cluster, image, TimeSpan.FromSeconds(2));
        Ok(hasty, hasty.Queue(0).Write(0, new byte[512]), hasty.Queue(0).Ask(BlockRequestType.Flush));
        network.Unplug();
        DriverRequest[] lost = [hasty.Queue(0).Read(0), hasty.Queue(0).Ask(BlockRequestType.Flush)];
        hasty.Kick(0).RunUntil(() => lost.All(request => request.IsUsed));
        Assert.Contains(BlockStatus.IoError, lost.Select(request => request.Status()));
        Stopwatch clock = Stopwatch.StartNew();
        string refusal = Assert.Throws<DiskImageException>(() =>
            RbdDisk.Open(cluster.Uri(image), readOnly: false, Long).Dispose()).Message;
        Assert.Contains("no monitor of the cluster answers within 10 s", refusal, StringComparison.Ordinal);
        network.Plug();
        DriverRequest again;
        do
        {
            again = hasty.Queue(0).Read(0);
            hasty.Kick(0).RunUntil(() => again.IsUsed);
        }
        while (again.Status() != BlockStatus.Ok && clock.Elapsed < Long);
        Assert.Equal(BlockStatus.Ok, again.Status());
    }

    [Fact, Trait("Long", "true")]
    public void Verified_writes_go_through_the_death_and_the_return_of_an_OSD_and_of_the_monitor()
    {
        using CephCluster cluster = new(osds: 3);
        string image = cluster.Create(ClusterBytes, "small-objects", "--object-size", "64K");
        using SimulatedGuest guest = RbdGuest(cluster, image, Timeout.InfiniteTimeSpan);
        VerifiedLoad load = new(guest, ClusterBytes);
        Rounds(5);
        load.Begin();
        cluster.Signal("osd.1", "KILL");
        load.Finish();
        Rounds(5);
        load.Begin();
        cluster.Restart("osd", "1");
        load.Finish();
        Rounds(5);
        load.Begin();
        cluster.Signal("mon.a", "KILL");
        load.Finish();
        Rounds(5);
        cluster.Restart("mon");
        Rounds(5);
        Ok(guest, guest.Queue(0).Ask(BlockRequestType.Flush));
        string export = cluster.PathOf("export");
        cluster.Rbd("export", "--no-progress", image, export);
        Assert.Equal(load.Model, File.ReadAllBytes(export));

        void Rounds(int count)
        {
            for (int round = 0; round < count; round++)
            {
                load.Begin();
                load.Finish();
            }
        }
    }

    private static void BlackOut(FarNetwork network, SimulatedGuest guest, VerifiedLoad load)
    {
        network.Unplug();
        load.Begin();
        for (Stopwatch clock = Stopwatch.StartNew(); clock.Elapsed < Blackout;) guest.Reactor.RunOnce(TimeSpan.FromMilliseconds(50));
        Assert.False(load.IsOver);
        network.Plug();
        load.Finish();
        load.Begin();
        load.Finish();
    }

    private static string Uri(FarNetwork network) => $"nbd://{network.Address}/";

    private static SimulatedGuest NbdGuest(FarNetwork network, TimeSpan patience) =>
        Guest(NbdDisk.Open(Uri(network), readOnly: false, patience));

    private static SimulatedGuest RbdGuest(CephCluster cluster, string image, TimeSpan patience) =>
        Guest(RbdDisk.Open(cluster.Uri(image), readOnly: false, patience));

    private static SimulatedGuest Guest(IBlockBackend backend) => SimulatedGuest.For(new BlockDevice("vda", backend),
        new SimulatedGuestOptions { MemoryBytes = 64 << 20, IdlePatience = TimeSpan.FromMinutes(4) });

    private static void Ok(SimulatedGuest guest, params DriverRequest[] requests)
    {
        guest.Kick(0).RunUntil(() => requests.All(request => request.IsUsed));
        Assert.All(requests, request => Assert.Equal(BlockStatus.Ok, request.Status()));
    }
}
