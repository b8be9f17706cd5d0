using Vmm.Devices.VhostUser;
using Vmm.Events;

namespace Vmm.Devices.Tests.VhostUser;

public abstract class SessionTests(PollerKind poller) : PollerSuite(poller)
{
    [Theory]
    [InlineData(0)]
    [InlineData(2)]
    public void A_disk_is_written_and_read_over_the_socket(int queueReactors)
    {
        using TemporaryImage image = new(sectors: 64);
        using ServedDevice served = new(image.OpenDevice(queues: 2), queueReactors: queueReactors);
        using DiskDriver disk = new(served.Connect(), ring: 1);
        disk.WriteSector(5, 0xa5);
        Assert.All(disk.ReadSector(5), value => Assert.Equal(0xa5, value));
        Assert.Equal(0xa5, image.ReadByte(5 * 512));
        Assert.Equal(0, image.ReadByte(6 * 512));
        Assert.Equal(2, disk.Frontend.QueuesMax);
        Assert.Equal(64, BitConverter.ToInt32(disk.Frontend.GetConfig(0, 8)));
    }

    [Fact]
    public void More_requests_at_once_than_a_turn_takes_are_all_answered()
    {
        const int requests = 300;
        using ServedDevice served = new(new ScriptedDevice(VirtioDeviceType.Block));
        using VhostUserFrontend frontend = served.Connect();
        for (int i = 0; i < requests; i++) frontend.Send(VhostUserRequest.GetFeatures, [], []);
        for (int i = 0; i < requests; i++) Assert.Equal(sizeof(ulong), frontend.Receive(VhostUserRequest.GetFeatures).Length);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(VhostUserServerOptions.ReactorsMax + 1)]
    public void A_server_with_no_reactor_or_too_many_is_refused(int reactors) =>
        Assert.Contains("give 1 to", Assert.Throws<ArgumentException>(() => new VhostUserServer(new VhostUserServerOptions { Reactors = reactors }))
            .Message, StringComparison.Ordinal);

    [Fact]
    public void A_served_device_waits_with_the_poller_of_its_suite()
    {
        using ServedDevice served = new(new ScriptedDevice(VirtioDeviceType.Block));
        Assert.Equal(OfSuite, served.Remote.Invoke(reactor => ((Reactor)reactor).Poller));
    }

    [Fact]
    public void A_ring_that_was_stopped_goes_on_where_it_was()
    {
        using TemporaryImage image = new(sectors: 8);
        using ServedDevice served = new(image.OpenDevice());
        using DiskDriver disk = new(served.Connect());
        for (byte i = 0; i < 5; i++) disk.WriteSector(i, i);
        disk.Frontend.Enable(0, false);
        uint stoppedAt = disk.Frontend.StopRing(0);
        Assert.Equal(5u, stoppedAt);
        Assert.Equal(5u, disk.Frontend.StopRing(0));
        disk.Restart(stoppedAt);
        Assert.All(disk.ReadSector(3), value => Assert.Equal(3, value));
    }

    [Fact]
    public void Front_ends_come_one_after_the_other()
    {
        using TemporaryImage image = new(sectors: 8);
        using ServedDevice served = new(image.OpenDevice());
        for (byte i = 1; i <= 3; i++)
        {
            using DiskDriver disk = new(served.Connect());
            disk.WriteSector(0, i);
        }
        Assert.Equal(3, image.ReadByte(0));
        Assert.Equal(3, served.Backend.Connections);
        Assert.Equal(3, served.Backend.Statistics[0].Requests);
    }

    [Fact]
    public void A_device_that_stops_waits_for_nobody_and_leaves_no_socket()
    {
        using TemporaryImage image = new(sectors: 8);
        VhostUserFrontend left;
        using (ServedDevice served = new(image.OpenDevice()))
        {
            left = served.Connect();
            left.Negotiate(0);
        }
        Assert.Throws<VhostUserException>(() => left.GetConfig(0, 8));
        left.Dispose();
    }

    [Fact]
    public void A_socket_left_behind_is_replaced_and_one_in_use_is_not()
    {
        using TemporaryImage image = new(sectors: 8);
        using ServedDevice served = new(image.OpenDevice());
        using Reactor reactor = new();
        using TemporaryImage other = new(sectors: 8);
        using BlockDevice device = other.OpenDevice();
        KernelException inUse = Assert.Throws<KernelException>(() => new VhostUserBackend(device, served.SocketPath, reactor));
        Assert.Equal(Errno.AddressInUse, inUse.Errno);

        string stale = Path.Combine(Path.GetTempPath(), $"vmm-stale-{Guid.NewGuid():n}");
        UnixEndpoint.Listen(stale, UnixFileMode.UserRead).Dispose();
        Assert.True(File.Exists(stale));
        using VhostUserBackend backend = new(device, stale, reactor);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(stale));
    }
}

public sealed class SessionOnEpollTests() : SessionTests(PollerKind.Epoll);

public sealed class SessionOnIoRingTests() : SessionTests(PollerKind.IoRing);
