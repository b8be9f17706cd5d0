using Vmm.Devices.Simulation;
using Vmm.Devices.VhostUser;
using Vmm.Events;

namespace Vmm.Devices.Tests.VhostUser;

/// <summary>
/// A guest that switched its disk's cache off sends no flush any more, also after its reboot and after a restart of the server, of which it
/// sees nothing. QEMU answers its reads from a copy and repeats no write: whatever the server is not sure of, it syncs.
/// </summary>
public abstract class CacheModeTests : PollerSuite, IDisposable
{
    private const int WritebackOffset = 32, ConfigBytes = 60;
    private const ulong Features = VirtioFeatures.EventIndex | VirtioFeatures.IndirectDescriptors | BlockProtocol.FeatureFlush | BlockProtocol.FeatureConfigWriteback;

    private readonly List<IDisposable> _open = [];
    private FaultyBackend _disk = new();
    private ServedDevice _served;

    private protected CacheModeTests(PollerKind poller) : base(poller) => _served = Serve();

    public void Dispose()
    {
        for (int i = _open.Count - 1; i >= 0; i--) _open[i].Dispose();
        GC.SuppressFinalize(this);
    }

    [Fact]
    public void A_driver_that_read_the_configuration_has_the_cache_it_read_of()
    {
        VhostUserFrontend frontend = Connect();
        Assert.Equal(1, frontend.GetConfig(0, ConfigBytes)[WritebackOffset]);
        Assert.False(WritesThrough(Start(frontend)));
    }

    [Fact]
    public void A_driver_may_read_the_cache_mode_after_its_rings_started_as_User_Mode_Linux_does()
    {
        DiskDriver driver = Start(Connect());
        Assert.True(WritesThrough(driver));
        driver.Frontend.GetConfig(0, 8);
        Assert.True(WritesThrough(driver));
        Assert.Equal([1], driver.Frontend.GetConfig(WritebackOffset, 1));
        Assert.False(WritesThrough(driver));
    }

    [Fact]
    public void A_front_end_that_did_not_read_the_configuration_gets_every_write_synced_and_the_operator_a_line()
    {
        Assert.True(WritesThrough(Start(Connect())));
        Assert.Contains(_served.DeviceLog.Lines, line => line.Contains("every write is synced until the driver's cache mode is known", StringComparison.Ordinal));
    }

    [Fact]
    public void The_mode_outlives_a_reboot_of_the_guest_and_another_connection()
    {
        VhostUserFrontend frontend = Connect();
        frontend.GetConfig(0, ConfigBytes);
        DiskDriver driver = Start(frontend);
        frontend.SetConfig(WritebackOffset, [0]);
        Assert.True(WritesThrough(driver));
        // QEMU stops the rings when the guest resets the device, and starts them from 0: nothing else shows.
        frontend.StopRing(0);
        driver = Start(frontend);
        Assert.True(WritesThrough(driver));
        driver.Dispose();
        Assert.True(WritesThrough(Start(Connect())));
    }

    [Theory]
    [InlineData(0, true)]
    [InlineData(1, false)]
    public void The_mode_outlives_the_server_with_the_in_flight_region(byte writeback, bool writesThrough)
    {
        VhostUserFrontend frontend = Connect();
        frontend.GetConfig(0, ConfigBytes);
        VhostUserInflight inflight = Inflight(frontend);
        DiskDriver driver = Start(frontend);
        frontend.SetConfig(WritebackOffset, [writeback]);
        Assert.Equal(writesThrough, WritesThrough(driver));
        driver.Dispose();
        for (int restarts = 0; restarts < 2; restarts++)
        {
            frontend = ConnectToNewServer();
            frontend.ShareInflight(inflight);
            driver = Start(frontend);
            Assert.Equal(writesThrough, WritesThrough(driver));
            Assert.Equal([writeback], frontend.GetConfig(WritebackOffset, 1));
            driver.Dispose();
        }
    }

    [Fact]
    public void A_region_is_as_good_as_what_was_known_when_it_was_noted()
    {
        // After the server's restart without a region nothing is known; the region made then must not say otherwise to the next server.
        VhostUserFrontend frontend = ConnectToNewServer();
        VhostUserInflight inflight = Inflight(frontend);
        Assert.True(WritesThrough(Start(frontend)));
        frontend.Dispose();
        frontend = ConnectToNewServer();
        frontend.ShareInflight(inflight);
        Assert.True(WritesThrough(Start(frontend)));
    }

    [Fact]
    public void A_region_that_another_back_end_made_says_nothing_of_the_mode()
    {
        VhostUserFrontend frontend = Connect();
        frontend.GetConfig(0, ConfigBytes);
        VhostUserInflight inflight = Inflight(frontend);
        VhostUserInflight foreign = new(inflight.File, inflight.Geometry with { Bytes = inflight.Geometry.Bytes - InflightRegion.ModeBytes });
        frontend.Dispose();
        frontend = ConnectToNewServer();
        frontend.ShareInflight(foreign);
        Assert.True(WritesThrough(Start(frontend)));
    }

    [Fact]
    public void What_a_migration_restores_beside_the_mode_says_nothing_of_the_mode()
    {
        VhostUserFrontend frontend = Connect();
        byte[] capacity = frontend.GetConfig(0, 8);
        Restore(0, capacity);
        DiskDriver driver = Start(frontend);
        Assert.True(WritesThrough(driver));
        Restore(WritebackOffset + 1, [0]);
        Assert.True(WritesThrough(driver));
        Restore(WritebackOffset, [1]);
        Assert.False(WritesThrough(driver));

        // The payload of SET_CONFIG: offset, size, flags (1: live migration), bytes.
        void Restore(int offset, byte[] bytes) => frontend.Do(
            VhostUserRequest.SetConfig,
            [.. BitConverter.GetBytes(offset), .. BitConverter.GetBytes(bytes.Length), .. BitConverter.GetBytes(1), .. bytes], []);
    }

    [Fact]
    public void A_driver_that_arrives_in_the_middle_of_its_ring_brings_a_mode_that_is_not_known_here()
    {
        // A migration: the front-end here read this server's configuration, its driver that of another one.
        VhostUserFrontend frontend = Connect();
        frontend.GetConfig(0, ConfigBytes);
        Inflight(frontend);
        DiskDriver driver = Start(frontend);
        Assert.False(WritesThrough(driver));
        uint at = frontend.StopRing(0);
        driver.Restart(at);
        Assert.False(WritesThrough(driver));
        frontend.Dispose();

        frontend = Connect();
        frontend.GetConfig(0, ConfigBytes);
        Inflight(frontend);
        frontend.ShareMemory(driver.Memory);
        using (frontend.StartRing(0, driver.Queue, at))
        {
            Assert.True(SpinWait.SpinUntil(() => !_served.Device.Config.IsModeKnown, TimeSpan.FromSeconds(30)));
            frontend.StopRing(0);
        }

        // The guest reboots: its next driver begins a ring and takes the mode from the copy that its front-end read here.
        Assert.False(WritesThrough(Start(frontend)));
    }

    private ServedDevice Serve()
    {
        _disk = new FaultyBackend();
        ServedDevice served = new(new BlockDevice("vda", _disk));
        _open.Add(served);
        return _served = served;
    }

    private VhostUserFrontend Connect()
    {
        VhostUserFrontend frontend = _served.Connect();
        _open.Add(frontend);
        frontend.Negotiate(Features);
        return frontend;
    }

    private VhostUserFrontend ConnectToNewServer()
    {
        Serve();
        return Connect();
    }

    private VhostUserInflight Inflight(VhostUserFrontend frontend)
    {
        VhostUserInflight inflight = frontend.GetInflight(1, 16);
        _open.Add(inflight);
        frontend.ShareInflight(inflight);
        return inflight;
    }

    private DiskDriver Start(VhostUserFrontend frontend)
    {
        DiskDriver driver = new(frontend);
        _open.Add(driver);
        return driver;
    }

    private bool WritesThrough(DiskDriver driver)
    {
        driver.WriteSector(0, 7);
        return _disk.Last!.IsDurable;
    }
}

public sealed class CacheModeOnEpollTests() : CacheModeTests(PollerKind.Epoll);

public sealed class CacheModeOnIoRingTests() : CacheModeTests(PollerKind.IoRing);
