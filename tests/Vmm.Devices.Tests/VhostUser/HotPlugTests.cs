using System.Diagnostics.Metrics;
using Vmm.Devices.Simulation;
using Vmm.Devices.VhostUser;
using Vmm.Events;

namespace Vmm.Devices.Tests.VhostUser;

/// <summary>Devices that come and go while a server runs, and what can be looked at and changed meanwhile.</summary>
public sealed class HotPlugTests : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-plug-").FullName;
    private readonly RecordingLogger _log = new();

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task A_disk_comes_is_used_and_goes_while_another_one_serves(int reactors)
    {
        using VhostUserServer server = Serve(reactors);
        server.Add(Disk("a", out _), PathOf("a"));
        server.Start();
        using DiskDriver neighbour = new(Connect("a"));
        for (int round = 0; round < 3; round++)
        {
            VhostUserBackend added = server.Add(Disk("b", out string image), PathOf("b"));
            using (DiskDriver driver = new(Connect("b")))
            {
                driver.WriteSector(3, 7);
                Assert.Equal(7, driver.ReadSector(3)[0]);
                Assert.True(added.IsConnected);
                await server.RemoveAsync(added).WaitAsync(Patience);
                Assert.True(SpinWait.SpinUntil(() => !driver.Frontend.IsConnected, Patience), "the front-end is still connected");
            }
            Assert.False(File.Exists(PathOf("b")));
            Assert.Equal(0, OpenFds.Named(image));
            Assert.Equal("a", Assert.Single(server.Backends).Device.Name);
            neighbour.WriteSector(1, (byte)round);
            Assert.Equal((byte)round, neighbour.ReadSector(1)[0]);
        }
    }

    [Fact]
    public async Task A_disk_goes_while_its_requests_are_in_flight()
    {
        using VhostUserServer server = Serve();
        server.Start();
        FaultyBackend storage = new();
        VhostUserBackend added = server.Add(new BlockDevice("slow", storage), PathOf("s"));
        using DiskDriver driver = new(Connect("s"));
        driver.WriteSector(0, 1);
        storage.Holds = true;
        driver.SubmitWrite(0);
        Assert.True(SpinWait.SpinUntil(() => storage.Held == 1, Patience));
        Task removal = server.RemoveAsync(added);
        Assert.True(SpinWait.SpinUntil(() => !File.Exists(PathOf("s")), Patience));
        Assert.False(removal.IsCompleted);
        server.Reactors[0].Invoke(_ => storage.CompleteHeld());
        await removal.WaitAsync(Patience);
        Assert.True(storage.IsDisposed);
        Assert.Empty(server.Backends);
    }

    [Fact]
    public async Task Twice_is_once_too_often()
    {
        using VhostUserServer server = Serve();
        server.Start();
        VhostUserBackend added = server.Add("vda", new DiskSpec { Path = ImageAt("i") }, PathOf("s"));
        Assert.Contains("two devices are called 'vda'", Assert.Throws<ArgumentException>(() => server.Add(Disk("vda", out _), PathOf("t"))).Message);
        Assert.Contains("is in use", Assert.Throws<DiskImageException>(() => server.Add("vdb", new DiskSpec { Path = ImageAt("i") }, PathOf("t"))).Message);
        Assert.Throws<KernelException>(() => server.Add(Disk("vdc", out _), PathOf("s")));
        Assert.False(File.Exists(PathOf("t")));
        await server.RemoveAsync(added).WaitAsync(Patience);
        await Assert.ThrowsAsync<ArgumentException>(() => server.RemoveAsync(added));
        server.Add("vda", new DiskSpec { Path = ImageAt("i") }, PathOf("s"));
    }

    [Fact]
    public void A_device_whose_endpoint_can_not_be_opened_is_not_there()
    {
        using VhostUserServer server = Serve();
        server.Start();
        Assert.ThrowsAny<IOException>(() => server.Add("v", new VsockSpec { Cid = 3, Uds = PathOf("no/such/directory") }, PathOf("v")));
        Assert.Empty(server.Backends);
        Assert.False(File.Exists(PathOf("v")));
    }

    [Fact]
    public void What_there_is_can_be_looked_at()
    {
        using VhostUserServer server = Serve();
        VhostUserBackend backend = server.Add(Disk("vda", out string image), PathOf("s"));
        server.Start();
        Assert.Equal(false, Look(backend)["driver"]);
        using DiskDriver driver = new(Connect("s"));
        for (int i = 0; i < 5; i++) driver.ReadSector(0);
        Dictionary<string, object> device = Look(backend);
        Assert.Equal("vda", device["name"]);
        Assert.Equal("INDIRECT_DESC EVENT_IDX VERSION_1", device["features"]);
        Assert.Contains(image, (string)device["storage"]);
        Dictionary<string, object> queue = Below(Below(device, "queues"), "0");
        Assert.Equal((true, 16L, 5L, 5L, 0L), (queue["running"], queue["size"], queue["next-available"], queue["next-used"], queue["in-flight"]));
        Assert.Equal(5L, queue["requests"]);
        Dictionary<string, object> frontEnd = Below(device, "front-end");
        Assert.Equal(((long)Environment.ProcessId, (long)DiskDriver.MemoryBytes), (frontEnd["process"], frontEnd["memory-bytes"]));
    }

    [Fact]
    public void A_disk_grows_under_its_driver_and_does_not_shrink()
    {
        using VhostUserServer server = Serve();
        BlockDevice disk = Disk("vda", out _);
        server.Add(disk, PathOf("s"));
        server.Start();
        using DiskDriver driver = new(Connect("s"));
        ulong Sectors() => BitConverter.ToUInt64(driver.Frontend.GetConfig(0, sizeof(ulong)));
        Assert.Equal(64UL, Sectors());
        disk.Grow(128 * 512);
        Assert.Equal(128UL, Sectors());
        driver.WriteSector(127, 9);
        Assert.Equal(9, driver.ReadSector(127)[0]);
        Assert.Contains("only grows", Assert.Throws<ArgumentException>(() => disk.Grow(64 * 512)).Message);
        Assert.Contains("multiple", Assert.Throws<ArgumentException>(() => disk.Grow((128 * 512) + 1)).Message);
        Assert.Equal(128UL, Sectors());
        Assert.Contains(_log.Kinds, kind => kind == DeviceEvents.CapacityChanged);
    }

    [Fact]
    public void A_disk_that_gets_its_size_elsewhere_says_so()
    {
        using BlockDevice memory = (BlockDevice)new DiskSpec { Path = "memory:1M" }.Open("vda");
        Assert.Contains("where it comes from", Assert.Throws<NotSupportedException>(() => memory.Grow(2 << 20)).Message);
        using TemporaryImage image = new(sectors: 8);
        using BlockDevice readOnly = (BlockDevice)new DiskSpec { Path = image.Path, ReadOnly = true }.Open("vdb");
        Assert.Contains("read-only", Assert.Throws<NotSupportedException>(() => readOnly.Grow(1 << 20)).Message);
    }

    [Fact]
    public void What_devices_did_is_measured_by_a_meter()
    {
        string name = $"disk{Guid.NewGuid():n}";
        using VhostUserServer server = Serve();
        server.Add(Disk(name, out _), PathOf("s"));
        server.Start();
        using DiskDriver driver = new(Connect("s"));
        for (int i = 0; i < 4; i++) driver.ReadSector(0);
        Dictionary<string, long> measured = [];
        using MeterListener listener = new();
        listener.InstrumentPublished = (instrument, all) =>
        {
            if (instrument.Meter.Name == "Vmm.Devices") all.EnableMeasurementEvents(instrument);
        };
        listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) =>
        {
            if (tags[0].Value as string == name) measured[instrument.Name] = value;
        });
        listener.Start();
        listener.RecordObservableInstruments();
        Assert.Equal((4, 4, 32768, 1, 1), (measured["vmm.device.requests"], measured["vmm.queue.requests"], measured["vmm.disk.capacity"],
            measured["vmm.vhost_user.connections"], measured["vmm.vhost_user.connected"]));
        Assert.Equal(4 * (16 + 512 + 1), measured["vmm.device.io"]);
    }

    [Fact]
    public void Events_have_names()
    {
        using VhostUserServer server = Serve();
        server.Add(Disk("vda", out _), PathOf("s"));
        server.Start();
        using (DiskDriver driver = new(Connect("s"))) driver.ReadSector(0);
        Assert.True(SpinWait.SpinUntil(() => _log.Kinds.Contains(DeviceEvents.FrontEndLeft), Patience));
        Assert.Equal([DeviceEvents.FrontEndConnected, DeviceEvents.DriverStarted, DeviceEvents.FrontEndLeft], _log.Kinds);
    }

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    private VhostUserServer Serve(int reactors = 1) =>
        new(new VhostUserServerOptions { Reactors = reactors, Logger = _log, AllowUnsealed = true, MeasureLatency = true });

    private string PathOf(string name) => Path.Combine(_directory, name);

    private string ImageAt(string name)
    {
        if (!File.Exists(PathOf(name))) File.WriteAllBytes(PathOf(name), new byte[64 * 512]);
        return PathOf(name);
    }

    private BlockDevice Disk(string name, out string image)
    {
        image = ImageAt($"{Guid.NewGuid():n}.img");
        return (BlockDevice)new DiskSpec { Path = image }.Open(name);
    }

    private VhostUserFrontend Connect(string socket) => VhostUserFrontend.Connect(PathOf(socket), Patience);

    private static Dictionary<string, object> Look(VhostUserBackend backend)
    {
        InspectNode node = new();
        backend.Remote.Invoke(_ => backend.Inspect(node));
        return new(node.Entries);
    }

    private static Dictionary<string, object> Below(Dictionary<string, object> node, string name) => new(((InspectNode)node[name]).Entries);
}
