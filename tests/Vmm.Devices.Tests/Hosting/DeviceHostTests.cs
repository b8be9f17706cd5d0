using System.Text;
using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Devices.Tests;

public abstract class DeviceHostTests(PollerKind poller) : PollerSuite(poller), IDisposable
{
    private static DeviceHostOptions Options => new() { Poller = Poller };

    private const int ImageBytes = 1 << 20;

    private readonly ScratchImage _scratch = new(ImageBytes);
    private readonly ScratchImage _other = new(ImageBytes);

    public void Dispose()
    {
        _scratch.Dispose();
        _other.Dispose();
        GC.SuppressFinalize(this);
    }

    [Fact]
    public void The_reactors_of_a_host_wait_as_its_options_say()
    {
        using DeviceHost host = new(new TestBoard(), new DeviceHostOptions { Poller = Poller, Reactors = 2 }, new EchoDevice());
        Assert.All(host.Reactors, reactor => Assert.Equal(OfSuite, reactor.Invoke(ops => ((Reactor)ops).Poller)));
    }

    [Theory]
    [InlineData(1, 1)]
    [InlineData(3, 4)]
    public void A_disk_is_served_by_reactors_on_threads_of_their_own(int reactors, int queues)
    {
        byte[] content = BlockGuest.Pattern(ImageBytes);
        _scratch.Bytes = content;
        using DeviceHost host = new(new TestBoard(), new DeviceHostOptions { Poller = Poller, Reactors = reactors },
            new BlockDevice("vda", RawImage.Open(_scratch.Path), new DiskSpec { Queues = queues }));
        using HostedGuest guest = new(host);
        SimulatedQueue[] disk = guest.Start(0);
        DriverRequest[] reads = [.. Enumerable.Range(0, 64).Select(i => disk[i % queues].Read((ulong)i * 16, 16))];
        for (int i = 0; i < queues; i++) guest.Driver(0).Kick(i);
        foreach (SimulatedQueue queue in disk) HostedGuest.WaitFor(queue);

        for (int i = 0; i < reads.Length; i++)
        {
            Assert.Equal(BlockStatus.Ok, reads[i].Status());
            Assert.Equal(content[(i * 16 * 512)..((i + 1) * 16 * 512)], reads[i].Data());
        }
        DeviceHostStatistics statistics = host.Statistics;
        DeviceStatistics device = Assert.Single(statistics.Devices);
        Assert.Equal(("vda", 64L, 64L * (16 + 8192 + 1)), (device.Name, device.Requests, device.Bytes));
        Assert.InRange(device.Kicks, 1, queues);
        Assert.Equal(device.Interrupts, ((TestBoard)host.Board).InterruptsOn(host.Devices[0].Line));
        Assert.InRange(device.LatencyP50Us, 0.001, device.LatencyP99Us);
        Assert.Equal(reactors, statistics.Reactors.Count);
        Assert.All(statistics.Reactors, reactor => Assert.Equal((0, 0), (reactor.Ghosts, reactor.HandlerFailures)));
    }

    [Fact]
    public void Resets_in_the_middle_of_requests_leave_a_disk_that_works()
    {
        using DeviceHost host = new(new TestBoard(), new DeviceHostOptions { Poller = Poller, Reactors = 2, ResetWait = TimeSpan.Zero },
            new BlockDevice("vda", RawImage.Open(_scratch.Path), new DiskSpec { Queues = 2 }));
        using HostedGuest guest = new(host);
        VirtioMmioDriver driver = guest.Driver(0);
        for (int round = 0; round < 50; round++)
        {
            SimulatedQueue[] disk = guest.Start(0);
            for (int i = 0; i < 16; i++) disk[i % 2].Write((ulong)i, BlockGuest.Pattern(512, i));
            driver.Kick(0);
            driver.Kick(1);
            driver.Reset();
            HostedGuest.WaitFor(() => driver.Status == DeviceStatus.None, "the reset");
        }
        SimulatedQueue queue = guest.Start(0)[0];
        DriverRequest read = queue.Read(3);
        driver.Kick(0);
        HostedGuest.WaitFor(queue);
        Assert.Equal(BlockStatus.Ok, read.Status());
        Assert.Equal(0, host.Devices[0].Device.GuestFaults);
    }

    [Fact]
    public async Task A_vcpu_that_resets_may_wait_for_a_device_whose_driver_will_not_look()
    {
        FaultyBackend backend = new() { Holds = true };
        using DeviceHost host = new(new TestBoard(),
            new DeviceHostOptions { Poller = Poller, ResetWait = TimeSpan.FromSeconds(30) }, new BlockDevice("vda", backend));
        using HostedGuest guest = new(host);
        SimulatedQueue queue = guest.Start(0)[0];
        queue.Read(0);
        VirtioMmioDriver driver = guest.Driver(0);
        driver.Kick(0);
        HostedGuest.WaitFor(() => backend.Held == 1, "the request to be taken");
        Task completed = Task.Run(async () =>
        {
            await Task.Delay(50, TestContext.Current.CancellationToken);
            host.Reactors[0].Invoke(_ => backend.CompleteHeld(), cancellation: TestContext.Current.CancellationToken);
        }, TestContext.Current.CancellationToken);
        driver.Reset();
        Assert.Equal(DeviceStatus.None, driver.Status);
        await completed;
    }

    [Fact]
    public void A_device_with_a_bug_needs_a_reset_and_comes_back_from_it()
    {
        EchoDevice echo = new();
        using DeviceHost host = new(new TestBoard(), Options, echo);
        using HostedGuest guest = new(host);
        VirtioMmioDriver driver = guest.Driver(0);
        SimulatedQueue queue = guest.Start(0)[0];
        echo.ThrowsWhenKicked = true;
        queue.Add([[1]], [1]);
        driver.Kick(0);
        HostedGuest.WaitFor(() => driver.Status.HasFlag(DeviceStatus.NeedsReset), "the device to ask for a reset");
        echo.ThrowsWhenKicked = false;
        driver.Reset();
        HostedGuest.WaitFor(() => driver.Status == DeviceStatus.None, "the reset");
        queue = guest.Start(0)[0];
        DriverRequest request = queue.Add([[1]], [1]);
        driver.Kick(0);
        HostedGuest.WaitFor(queue);
        Assert.Equal([1], request.Written);
    }

    [Fact]
    public async Task A_stop_waits_for_what_is_in_flight_and_closes_everything()
    {
        FaultyBackend backend = new() { Holds = true };
        DeviceHost host = new(new TestBoard(), Options, new BlockDevice("vda", backend));
        using (HostedGuest guest = new(host))
        {
            SimulatedQueue queue = guest.Start(0)[0];
            queue.Read(0);
            guest.Driver(0).Kick(0);
            HostedGuest.WaitFor(() => backend.Held == 1, "the request to be taken");
            Task stop = host.StopAsync();
            Assert.False(stop.IsCompleted);
            host.Reactors[0].Invoke(_ => backend.CompleteHeld(), cancellation: TestContext.Current.CancellationToken);
            await stop;
            Assert.False(backend.IsDisposed);
        }
        await host.DisposeAsync();
        Assert.True(backend.IsDisposed);
        Assert.Throws<ObjectDisposedException>(() => host.Add(new EchoDevice()));
    }

    [Fact]
    public void A_stop_gives_up_on_a_device_that_never_comes_to_rest()
    {
        FaultyBackend backend = new() { Holds = true };
        DeviceHost host = new(new TestBoard(),
            new DeviceHostOptions { Poller = Poller, StopTimeout = TimeSpan.FromMilliseconds(50) }, new BlockDevice("vda", backend));
        using HostedGuest guest = new(host);
        guest.Start(0)[0].Read(0);
        guest.Driver(0).Kick(0);
        HostedGuest.WaitFor(() => backend.Held == 1, "the request to be taken");
        host.Dispose();
        Assert.True(backend.IsDisposed);
    }

    [Fact]
    public void A_serial_port_carries_what_the_guest_prints_and_the_stop_waits_for_it()
    {
        MemoryStream output = new();
        DeviceHost host = new(new TestBoard(), Options);
        HostedSerial serial = host.AddSerial("ttyS0", new SerialPortOptions { Output = SerialOutput.To(output) });
        foreach (byte b in "hello"u8) host.Board.Ports.Write(serial.Address, [b]);
        host.Dispose();
        Assert.Equal("hello", Encoding.ASCII.GetString(output.ToArray()));
    }

    [Fact]
    public void Devices_get_registers_lines_and_reactors_in_turn()
    {
        using DeviceHost host = new(new TestBoard { Slots = new DeviceSlots(1UL << 32, 20, 8) },
            new DeviceHostOptions { Poller = Poller, Reactors = 2 },
            new BlockDevice("vda", new FaultyBackend()), new BlockDevice("vdb", new FaultyBackend()));
        Assert.Equal([(1UL << 32, 20), ((1UL << 32) + VirtioMmioTransport.Length, 21)],
            host.Devices.Select(hosted => (hosted.Address, hosted.Line)));
    }

    [Fact]
    public void Two_disks_on_one_file_are_refused_even_read_only()
    {
        using DeviceHost host = new(new TestBoard(), Options, new BlockDevice("vda", RawImage.Open(_scratch.Path, readOnly: true)));
        using BlockDevice second = new("vdb", RawImage.Open(_scratch.Path, readOnly: true));
        ArgumentException refusal = Assert.Throws<ArgumentException>(() => host.Add(second));
        Assert.Contains("disks 'vda' and 'vdb' are the same file", refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_name_taken_twice_and_a_device_too_many_are_refused()
    {
        using DeviceHost host = new(new TestBoard { Slots = new DeviceSlots(1UL << 40, 8, 2) },
            Options, new BlockDevice("vda", new FaultyBackend()));
        Assert.Contains("two devices are called 'vda'", Assert.Throws<ArgumentException>(() => host.Add(new BlockDevice("vda", new FaultyBackend()))).Message, StringComparison.Ordinal);
        host.Add(new EchoDevice());
        Assert.Contains("no room for device 'vdc'", Assert.Throws<ArgumentException>(() => host.Add(new BlockDevice("vdc", new FaultyBackend()))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_host_that_can_not_be_made_leaves_nothing_open()
    {
        FaultyBackend first = new(), second = new();
        TestBoard board = new();
        Assert.Throws<ArgumentException>(() => new DeviceHost(board,
            Options, new BlockDevice("vda", first), new BlockDevice("vda", second)));
        Assert.True(first.IsDisposed && second.IsDisposed && board.IsDisposed);
        FaultyBackend third = new();
        TestBoard other = new();
        Assert.Throws<ArgumentException>(() => new DeviceHost(other,
            new DeviceHostOptions { Poller = Poller, Reactors = 0 }, new BlockDevice("vda", third)));
        Assert.True(third.IsDisposed && other.IsDisposed);
    }

    [Fact]
    public void Kicks_of_a_machine_go_straight_to_the_queues_until_the_host_is_gone()
    {
        SimulatedIoEventFds kicks = new();
        DeviceHost host = new(new TestBoard { Kicks = kicks }, Options, new EchoDevice());
        using EventFd other = new();
        ulong notify = host.Devices[0].Address + MmioRegister.QueueNotify;
        Assert.Throws<InvalidOperationException>(() => kicks.Add(notify, 4, 1, other));
        host.Dispose();
        kicks.Add(notify, 4, 1, other);
    }

    [Fact]
    public async Task A_device_is_removed_while_its_requests_are_in_flight_and_its_place_is_free_then()
    {
        FaultyBackend backend = new() { Holds = true };
        using DeviceHost host = new(new TestBoard { Kicks = new SimulatedIoEventFds(), Slots = new DeviceSlots(1UL << 40, 8, 1) },
            Options, new BlockDevice("vda", backend));
        using HostedGuest guest = new(host);
        SimulatedQueue queue = guest.Start(0)[0];
        queue.Read(0);
        guest.Driver(0).Kick(0);
        HostedGuest.WaitFor(() => backend.Held == 1, "the request to be taken");
        HostedDevice disk = host.Devices[0];

        Task removed = host.RemoveAsync(disk);
        Assert.Empty(host.Devices);
        byte[] magic = new byte[4];
        Assert.False(host.Board.Mmio.Read(disk.Address, magic));
        Assert.Equal([0xff, 0xff, 0xff, 0xff], magic);
        Assert.False(removed.IsCompleted);
        using (EchoDevice early = new()) Assert.Contains("no room", Assert.Throws<ArgumentException>(() => host.Add(early)).Message, StringComparison.Ordinal);
        await Assert.ThrowsAsync<ArgumentException>(() => host.RemoveAsync(disk));

        host.Reactors[0].Invoke(_ => backend.CompleteHeld(), cancellation: TestContext.Current.CancellationToken);
        await removed.WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
        Assert.True(backend.IsDisposed);
        HostedDevice echo = host.Add(new EchoDevice());
        Assert.Equal((disk.Address, disk.Line), (echo.Address, echo.Line));
        SimulatedQueue requests = guest.Start(0)[0];
        DriverRequest request = requests.Add([[1]], [1]);
        guest.Driver(0).Kick(0);
        HostedGuest.WaitFor(requests);
        Assert.Equal([1], request.Written);
    }

    [Fact]
    public async Task Devices_come_and_go_under_the_kicks_of_other_devices()
    {
        EchoDevice stays = new();
        using DeviceHost host = new(new SimulatedBoard(64 << 20), new DeviceHostOptions { Poller = Poller, Reactors = 2 }, stays);
        using HostedGuest guest = new(host);
        SimulatedQueue queue = guest.Start(0)[0];
        for (int round = 0; round < 50; round++)
        {
            HostedDevice hosted = host.Add(new BlockDevice($"vd{round}", new FaultyBackend(), new DiskSpec { Queues = 2 }));
            DriverRequest echoed = queue.Add([[(byte)round]], [1]);
            guest.Driver(0).Kick(0);
            SimulatedQueue disk = guest.Start(1)[1];
            DriverRequest read = disk.Read(0);
            guest.Driver(1).Kick(1);
            HostedGuest.WaitFor(disk);
            Assert.Equal(BlockStatus.Ok, read.Status());
            await host.RemoveAsync(hosted).WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
            HostedGuest.WaitFor(queue);
            Assert.Equal([(byte)round], echoed.Written);
        }
        Assert.Single(host.Devices);
        Assert.Equal(0, stays.GuestFaults);
    }

    [Fact]
    public void A_host_that_ends_while_a_device_is_being_removed_disposes_it_once()
    {
        FaultyBackend backend = new() { Holds = true };
        DeviceHost host = new(new TestBoard(),
            new DeviceHostOptions { Poller = Poller, StopTimeout = TimeSpan.FromMilliseconds(50) }, new BlockDevice("vda", backend));
        using HostedGuest guest = new(host);
        guest.Start(0)[0].Read(0);
        guest.Driver(0).Kick(0);
        HostedGuest.WaitFor(() => backend.Held == 1, "the request to be taken");
        _ = host.RemoveAsync(host.Devices[0]);
        host.Dispose();
        Assert.True(backend.IsDisposed);
    }

    [Theory]
    [InlineData(1, "devices0", "devices0", "devices0")]
    [InlineData(2, "devices1", "devices0", "devices1")]
    [InlineData(3, "devices1", "devices2", "devices0")]
    public void One_rule_spreads_independent_queues_over_the_reactors_and_the_statistics_name_them(int reactors, params string[] expected)
    {
        using DeviceHost host = new(new TestBoard(), new DeviceHostOptions { Poller = Poller, Reactors = reactors },
            new EchoDevice(), new BlockDevice("vda", new FaultyBackend(), new DiskSpec { Queues = 3 }));
        Assert.Equal(expected, host.Statistics.Devices[1].Queues.Select(queue => queue.Reactor));
        Assert.All(host.Statistics.Devices[0].Queues, queue => Assert.Equal("devices0", queue.Reactor));
    }

    [Fact]
    public async Task A_paused_host_serves_nothing_and_goes_on_with_what_was_kicked_meanwhile()
    {
        using DeviceHost host = new(new TestBoard(), Options, new EchoDevice());
        using HostedGuest guest = new(host);
        SimulatedQueue queue = guest.Start(0)[0];
        for (int round = 0; round < 20; round++)
        {
            await host.PauseAsync();
            DriverRequest request = queue.Add([[1]], [1]);
            guest.Driver(0).Kick(0);
            host.Reactors[0].Invoke(_ => { }, cancellation: TestContext.Current.CancellationToken);
            Assert.False(request.IsUsed);
            await host.ResumeAsync();
            HostedGuest.WaitFor(queue);
            Assert.Equal([1], request.Written);
        }
    }

    [Fact]
    public void A_region_is_mapped_and_unmapped_while_the_board_is_in_use()
    {
        using SimulatedBoard board = new(64 << 20);
        GuestRegion region = GuestRegion.Create(1UL << 32, 1 << 20);
        board.Map(region);
        Assert.True(board.Memory.TryWrite(1UL << 32, [1, 2, 3]));
        using GuestRegion overlapping = GuestRegion.Create(1UL << 32, 4096);
        Assert.Throws<ArgumentException>(() => board.Map(overlapping));
        board.Unmap(region);
        Assert.False(board.Memory.TryWrite(1UL << 32, [1, 2, 3]));
        Assert.Throws<ArgumentException>(() => board.Unmap(region));
    }
}

public sealed class DeviceHostOnEpollTests() : DeviceHostTests(PollerKind.Epoll);

public sealed class DeviceHostOnIoRingTests() : DeviceHostTests(PollerKind.IoRing);
