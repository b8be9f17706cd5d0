using System.Text;
using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Devices.Tests;

public sealed class DeviceHostTests : IDisposable
{
    private const int ImageBytes = 1 << 20;

    private readonly ScratchImage _scratch = new(ImageBytes);
    private readonly ScratchImage _other = new(ImageBytes);

    public void Dispose()
    {
        _scratch.Dispose();
        _other.Dispose();
    }

    [Theory]
    [InlineData(1, 1)]
    [InlineData(3, 4)]
    public void A_disk_is_served_by_reactors_on_threads_of_their_own(int reactors, int queues)
    {
        byte[] content = BlockGuest.Pattern(ImageBytes);
        _scratch.Bytes = content;
        using DeviceHost host = new(new DeviceHostOptions { Reactors = reactors, MemoryBytes = 64 << 20 },
            new BlockDevice("vda", RawImage.Open(_scratch.Path), new BlockDeviceOptions { Queues = queues }));
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
        Assert.Equal(device.Interrupts, guest.InterruptsOn(host.Devices[0].Line.Number));
        Assert.InRange(device.LatencyP50Us, 0.001, device.LatencyP99Us);
        Assert.Equal(reactors, statistics.Reactors.Count);
        Assert.All(statistics.Reactors, reactor => Assert.Equal((0, 0), (reactor.Ghosts, reactor.HandlerFailures)));
    }

    [Fact]
    public void Resets_in_the_middle_of_requests_leave_a_disk_that_works()
    {
        using DeviceHost host = new(new DeviceHostOptions { Reactors = 2, MemoryBytes = 64 << 20, ResetWait = TimeSpan.Zero },
            new BlockDevice("vda", RawImage.Open(_scratch.Path), new BlockDeviceOptions { Queues = 2 }));
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
        TestBackend backend = new() { Waits = true };
        using DeviceHost host = new(new DeviceHostOptions { MemoryBytes = 64 << 20, ResetWait = TimeSpan.FromSeconds(30) }, new BlockDevice("vda", backend));
        using HostedGuest guest = new(host);
        SimulatedQueue queue = guest.Start(0)[0];
        queue.Read(0);
        VirtioMmioDriver driver = guest.Driver(0);
        driver.Kick(0);
        HostedGuest.WaitFor(() => backend.Waiting == 1, "the request to be taken");
        Task completed = Task.Run(async () =>
        {
            await Task.Delay(50, TestContext.Current.CancellationToken);
            host.Reactors[0].Invoke(_ => backend.CompleteAll(), cancellation: TestContext.Current.CancellationToken);
        }, TestContext.Current.CancellationToken);
        driver.Reset();
        Assert.Equal(DeviceStatus.None, driver.Status);
        await completed;
    }

    [Fact]
    public void A_device_with_a_bug_needs_a_reset_and_comes_back_from_it()
    {
        EchoDevice echo = new();
        using DeviceHost host = new(new DeviceHostOptions { MemoryBytes = 64 << 20 }, echo);
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
        TestBackend backend = new() { Waits = true };
        DeviceHost host = new(new DeviceHostOptions { MemoryBytes = 64 << 20 }, new BlockDevice("vda", backend));
        using (HostedGuest guest = new(host))
        {
            SimulatedQueue queue = guest.Start(0)[0];
            queue.Read(0);
            guest.Driver(0).Kick(0);
            HostedGuest.WaitFor(() => backend.Waiting == 1, "the request to be taken");
            Task stop = host.StopAsync();
            Assert.False(stop.IsCompleted);
            host.Reactors[0].Invoke(_ => backend.CompleteAll(), cancellation: TestContext.Current.CancellationToken);
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
        TestBackend backend = new() { Waits = true };
        DeviceHost host = new(new DeviceHostOptions { MemoryBytes = 64 << 20, StopTimeout = TimeSpan.FromMilliseconds(50) }, new BlockDevice("vda", backend));
        using HostedGuest guest = new(host);
        guest.Start(0)[0].Read(0);
        guest.Driver(0).Kick(0);
        HostedGuest.WaitFor(() => backend.Waiting == 1, "the request to be taken");
        host.Dispose();
        Assert.True(backend.IsDisposed);
    }

    [Fact]
    public void A_serial_port_carries_what_the_guest_prints_and_the_stop_waits_for_it()
    {
        MemoryStream output = new();
        DeviceHost host = new();
        HostedSerial serial = host.AddSerial("ttyS0", new SerialPortOptions { Output = SerialOutput.To(output) });
        foreach (byte b in "hello"u8) host.Ports.Write(serial.Address, [b]);
        host.Dispose();
        Assert.Equal("hello", Encoding.ASCII.GetString(output.ToArray()));
    }

    [Fact]
    public void Devices_get_registers_lines_and_reactors_in_turn()
    {
        using DeviceHost host = new(new DeviceHostOptions { Reactors = 2, FirstInterrupt = 20, MmioBase = 1UL << 32 },
            new BlockDevice("vda", new TestBackend()), new BlockDevice("vdb", new TestBackend()));
        Assert.Equal([(1UL << 32, 20), ((1UL << 32) + VirtioMmioTransport.Length, 21)],
            host.Devices.Select(hosted => (hosted.Address, hosted.Line.Number)));
    }

    [Fact]
    public void Two_disks_on_one_file_are_refused_even_read_only()
    {
        using DeviceHost host = new(new BlockDevice("vda", RawImage.Open(_scratch.Path, readOnly: true)));
        using BlockDevice second = new("vdb", RawImage.Open(_scratch.Path, readOnly: true));
        ArgumentException refusal = Assert.Throws<ArgumentException>(() => host.Add(second));
        Assert.Contains("disks 'vda' and 'vdb' are the same file", refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_name_taken_twice_and_a_device_too_many_are_refused()
    {
        using DeviceHost host = new(new DeviceHostOptions { DevicesMax = 2 }, new BlockDevice("vda", new TestBackend()));
        Assert.Contains("two devices are called 'vda'", Assert.Throws<ArgumentException>(() => host.Add(new BlockDevice("vda", new TestBackend()))).Message, StringComparison.Ordinal);
        host.Add(new EchoDevice());
        Assert.Contains("no room for device 'vdc'", Assert.Throws<ArgumentException>(() => host.Add(new BlockDevice("vdc", new TestBackend()))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_host_that_can_not_be_made_leaves_nothing_open()
    {
        TestBackend first = new(), second = new();
        Assert.Throws<ArgumentException>(() => new DeviceHost(new BlockDevice("vda", first), new BlockDevice("vda", second)));
        Assert.True(first.IsDisposed && second.IsDisposed);
    }

    [Fact]
    public void A_machine_connects_once_and_devices_come_before_it()
    {
        using DeviceHost host = new(new EchoDevice());
        host.Connect(_ => new InterruptLine(0));
        Assert.Throws<InvalidOperationException>(() => host.Connect(_ => new InterruptLine(0)));
        using EchoDevice late = new();
        Assert.Throws<InvalidOperationException>(() => host.Add(late));
    }

    [Fact]
    public void Kicks_of_a_machine_go_straight_to_the_queues_until_the_host_is_gone()
    {
        SimulatedIoEventFds kicks = new();
        DeviceHost host = new(new EchoDevice());
        host.Connect(_ => new InterruptLine(0), kicks);
        using EventFd other = new();
        ulong notify = host.Devices[0].Address + MmioRegister.QueueNotify;
        Assert.Throws<InvalidOperationException>(() => kicks.Add(notify, 4, 1, other));
        host.Dispose();
        kicks.Add(notify, 4, 1, other);
    }
}
