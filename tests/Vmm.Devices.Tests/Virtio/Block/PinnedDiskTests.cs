using System.Globalization;
using Vmm.Devices.Native;
using Vmm.Devices.Simulation;
using Vmm.Devices.Tests.VhostUser;
using Vmm.Events;

namespace Vmm.Devices.Tests;

/// <summary>Disks for which guest memory is pinned: the guest sees what is read, whatever becomes of the memory.</summary>
[Collection(Alone.Name)]
public sealed class PinnedDiskTests : IDisposable
{
    private const int ImageBytes = 1 << 20;
    private const ulong MemoryBytes = 16 << 20;

    private readonly ScratchImage _scratch = new(ImageBytes);
    private readonly byte[] _content = BlockGuest.Pattern(ImageBytes);

    public PinnedDiskTests() => _scratch.Bytes = _content;

    public void Dispose() => _scratch.Dispose();

    [Theory]
    [InlineData(0)]
    [InlineData(VirtioFeatures.PackedRing)]
    public void Memory_is_pinned_while_a_queue_runs_and_data_of_many_pieces_is_the_same(ulong ring)
    {
        using SimulatedGuest guest = Guest(ring);
        long before = PinnedKilobytes();
        guest.Start();
        Assert.True(IsPinned(guest));
        Assert.Equal((long)MemoryBytes >> 10, PinnedKilobytes() - before);
        for (int pieces = 1; pieces <= 40; pieces += 13)
        {
            GuestBuffer[] data = [.. Enumerable.Range(0, pieces).Select(_ => guest.Queue(0).Place(new byte[4096])).Reverse()];
            Assert.Equal(_content[..(pieces * 4096)], Read(guest, data));
        }
        guest.Reset();
        Assert.False(IsPinned(guest));
        Assert.Equal(0, PinnedKilobytes() - before);
    }

    [Fact]
    public void What_is_read_into_memory_that_was_given_back_is_seen()
    {
        using SimulatedGuest guest = Guest().Start();
        GuestBuffer data = guest.Queue(0).Place(new byte[64 << 10]);
        Assert.Equal(_content[..(64 << 10)], Read(guest, data));
        Assert.True(guest.Memory.TryDiscard(data.Address, data.Length));
        Assert.Equal(new byte[64 << 10], Bytes(guest, data));
        Assert.Equal(_content[..(64 << 10)], Read(guest, data));
    }

    [Fact]
    public void Regions_that_come_go_by_the_usual_path_and_those_that_go_stay_until_the_queue_ends()
    {
        using SimulatedGuest guest = Guest();
        long before = PinnedKilobytes();
        GuestRegion second = GuestRegion.Create(MemoryBytes, 1 << 20), third = GuestRegion.Create(MemoryBytes + (1 << 20), 1 << 20);
        Assert.True(guest.Memory.TryAdd(second, out _));
        guest.Start();
        Assert.True(guest.Memory.TryAdd(third, out _));
        // A piece in each region, and one that crosses from the first to the second.
        GuestBuffer inSecond = new(MemoryBytes + 4096, 4096), inThird = new(MemoryBytes + (1 << 20), 4096);
        GuestBuffer across = new(MemoryBytes - 4096, 8192);
        GuestBuffer[][] reads = [[inSecond], [inThird], [inSecond, inThird], [across], [across, inThird, inSecond]];
        foreach (GuestBuffer[] data in reads) Assert.Equal(_content[..(int)data.Sum(buffer => buffer.Length)], Read(guest, data));

        // Under load, of as many as the device takes in one turn.
        DriverRequest[] inFlight = [.. Enumerable.Range(0, 10)
            .Select(i => guest.Queue(0).Add([Header(i)], [new(inSecond.Address + (ulong)i * 4096, 4096), Status(guest)]))];
        guest.Kick(0);
        guest.Reactor.RunOnce(TimeSpan.Zero);
        Assert.True(guest.Memory.Remove(MemoryBytes));
        guest.RunUntil(() => inFlight.All(request => request.IsUsed));
        Assert.True(second.IsMapped);
        GuestBuffer inFirst = guest.Queue(0).Place(new byte[4096]);
        Assert.Equal(_content[..4096], Read(guest, inFirst));
        Assert.Equal(_content[..4096], Read(guest, inThird));
        guest.Reset();
        Assert.False(second.IsMapped);
        Assert.Equal(0, PinnedKilobytes() - before);

        GuestBuffer Header(int block)
        {
            byte[] header = new byte[16];
            BitConverter.TryWriteBytes(header.AsSpan(8), (ulong)block * 8);
            return guest.Queue(0).Place(header);
        }
    }

    [Fact]
    public void A_save_that_runs_beside_has_what_was_there_before_a_read()
    {
        using FaultWatch? watch = FaultWatch.TryOpen(out _);
        Assert.SkipWhen(watch is null, "needs userfaultfd");
        using ScratchImage saved = new((long)MemoryBytes);
        using SimulatedGuest guest = Guest().Start();
        byte[] before = BlockGuest.Pattern(64 << 10, 7);
        GuestBuffer data = guest.Queue(0).Place(before), head = guest.Queue(0).Place(new byte[16]), status = Status(guest);
        using (MappedMemory view = guest.Memory.Regions[0].MapAgain())
        using (OwnedFd file = new(FileCalls.Open(saved.Path, FileCalls.O_RDWR | FileCalls.O_CLOEXEC)))
        {
            LiveMemoryCopy copy = new(watch!, new MemoryImageWriter(file, guest.Memory.Regions), [(guest.Memory.Regions[0], view)]);
            guest.Memory.BeforeWrite = copy;
            DriverRequest request = guest.Queue(0).Add([head], [data, status]);
            guest.Kick(0).RunUntil(() => request.IsUsed);
            guest.Memory.BeforeWrite = null;
            copy.Run(null, TestContext.Current.CancellationToken);
        }
        Assert.Equal(before, saved.Bytes.AsSpan((int)data.Address, before.Length).ToArray());
        Assert.Equal(_content[..before.Length], Bytes(guest, data));
    }

    [Fact]
    public void Two_queues_of_a_ring_share_what_is_pinned()
    {
        using SimulatedGuest guest = Guest(queues: 2);
        long before = PinnedKilobytes();
        guest.Start();
        Assert.Equal((long)MemoryBytes >> 10, PinnedKilobytes() - before);
    }

    [Fact]
    public void Memory_of_a_snapshot_or_of_another_process_is_not_pinned_and_the_disk_works()
    {
        foreach (GuestRegion foreign in new[] { Restored(), Mapped() })
        {
            RecordingLogger log = new();
            using SimulatedGuest guest = Guest(log: log);
            Assert.True(guest.Memory.TryAdd(foreign, out _));
            long before = PinnedKilobytes();
            guest.Start();
            Assert.False(IsPinned(guest));
            Assert.Equal(0, PinnedKilobytes() - before);
            Assert.Equal(_content[..4096], Read(guest, new GuestBuffer(MemoryBytes, 4096)));
            guest.Reset().Start();
            Assert.Contains("17 MiB of guest memory are not pinned: ", Assert.Single(log.Lines, line => line.Contains("not pinned", StringComparison.Ordinal)),
                StringComparison.Ordinal);
        }

        GuestRegion Restored() => GuestRegion.MapPrivate(SnapshotCalls.OpenFile(_scratch.Path)!, new RegionLayout(MemoryBytes, ImageBytes));

        static GuestRegion Mapped()
        {
            OwnedFd file = new(MemoryCalls.MemfdCreate("foreign", MemoryCalls.MFD_CLOEXEC));
            Assert.Equal(0, MemoryCalls.Truncate(file.Number, ImageBytes));
            Assert.True(GuestRegion.TryMap(file, new RegionLayout(MemoryBytes, ImageBytes), out GuestRegion? region, out _));
            return region;
        }
    }

    [Theory]
    [InlineData("a.img,pin", "goes through the page cache")]
    [InlineData("a.img,cache=dontcache,pin", "goes through the page cache")]
    [InlineData("a.img,cache=none,pin,engine=threads", "leave out 'engine' or 'pin'")]
    [InlineData("a.img,cache=none,pin,engine=synchronous", "leave out 'engine' or 'pin'")]
    public void What_makes_no_sense_with_it_is_refused(string text, string sentence) =>
        Assert.Contains(sentence, Assert.Single(DiskSpec.Parse(text).Failures("vda")), StringComparison.Ordinal);

    [Fact]
    public void A_front_ends_memory_is_refused()
    {
        ArgumentException refused = Assert.Throws<ArgumentException>(() => Spec().Open("vda", new DeviceSetting { OverVhostUser = true }));
        Assert.Contains("the front-end may replace pages of it", refused.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_machine_with_a_balloon_is_refused(bool balloonFirst)
    {
        using DeviceHost host = new(new TestBoard(), new DeviceHostOptions());
        VirtioDevice[] devices = [new BalloonDevice("balloon0"), Spec().Open("vda")];
        if (!balloonFirst) Array.Reverse(devices);
        host.Add(devices[0]);
        using VirtioDevice second = devices[1];
        Assert.Contains("leave out 'pin', or the balloon", Assert.Throws<ArgumentException>(() => host.Add(second)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Memory_is_there_when_the_disk_is_added_so_that_no_reactor_waits_for_it()
    {
        using DeviceHost host = new(new TestBoard(), new DeviceHostOptions());
        GuestRegion region = host.Memory.Regions[0];
        Assert.NotEqual([(0, region.Length)], region.Extents());
        host.Add(Spec().Open("vda"));
        Assert.Equal([(0, region.Length)], region.Extents());
    }

    private DiskSpec Spec(int queues = 1) => DiskSpec.Parse($"{_scratch.Path},cache=none,pin") with { Queues = queues };

    private SimulatedGuest Guest(ulong ring = 0, int queues = 1, RecordingLogger? log = null)
    {
        VirtioDevice disk = Spec(queues).Open("vda");
        if (log is not null) disk.Logger = log;
        return SimulatedGuest.For(disk, new SimulatedGuestOptions
        {
            MemoryBytes = MemoryBytes,
            Start = false,
            Features = ~VirtioFeatures.PackedRing | ring,
        });
    }

    private static GuestBuffer Status(SimulatedGuest guest) => guest.Queue(0).Place([0xff]);

    /// <summary>Reads the start of the disk.</summary>
    private static byte[] Read(SimulatedGuest guest, params GuestBuffer[] data)
    {
        foreach (GuestBuffer buffer in data) guest.Memory.TryWrite(buffer.Address, new byte[buffer.Length]);
        GuestBuffer status = Status(guest);
        DriverRequest request = guest.Queue(0).Add([guest.Queue(0).Place(new byte[16])], [.. data, status]);
        guest.Kick(0).RunUntil(() => request.IsUsed);
        Assert.Equal([(byte)BlockStatus.Ok], Bytes(guest, status));
        return [.. data.SelectMany(buffer => Bytes(guest, buffer))];
    }

    private static byte[] Bytes(SimulatedGuest guest, GuestBuffer buffer)
    {
        byte[] bytes = new byte[buffer.Length];
        Assert.True(guest.Memory.TryRead(buffer.Address, bytes));
        return bytes;
    }

    private static bool IsPinned(SimulatedGuest guest)
    {
        InspectNode node = new();
        guest.Device.Inspect(node);
        return (bool)node.Entries.Single(entry => entry.Key == "pinned").Value;
    }

    /// <summary>What the kernel keeps pinned for this process (proc_pid_status(5)).</summary>
    private static long PinnedKilobytes()
    {
        string line = File.ReadLines("/proc/self/status").First(line => line.StartsWith("VmPin:", StringComparison.Ordinal));
        return long.Parse(line["VmPin:".Length..].Replace("kB", "", StringComparison.Ordinal), CultureInfo.InvariantCulture);
    }
}
