using System.Diagnostics;
using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests;

/// <summary>A guest on the test's thread whose devices are hosted on reactors of their own: it reaches them by the bus, as a vCPU does.</summary>
internal sealed class HostedGuest : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    private readonly DeviceHost _host;
    private readonly GuestAllocator _allocator;
    private readonly List<SimulatedQueue> _queues = [];

    internal HostedGuest(DeviceHost host)
    {
        _host = host;
        _allocator = new GuestAllocator(1 << 20, (64 << 20) - (1 << 20));
    }

    internal VirtioMmioDriver Driver(int device) => DriverOn(_host, device);

    /// <summary>The registers of a device of another host on the same memory, for the driver that goes on there.</summary>
    internal static VirtioMmioDriver DriverOn(DeviceHost host, int device) => new(new BusWindow(host.Board.Mmio, host.Devices[device].Address));

    internal SimulatedQueue[] Start(int device, ulong features = ulong.MaxValue)
    {
        VirtioMmioDriver driver = Driver(device);
        Assert.True(driver.IsPresent);
        Assert.True(driver.TryNegotiate(features, out ulong accepted));
        SimulatedQueue[] queues = [.. Enumerable.Range(0, _host.Devices[device].Device.Queues.Count).Select(i =>
        {
            DriverQueue ring = DriverQueue.Create(_host.Memory, _allocator, 64, accepted);
            driver.SetUpQueue(i, ring.Configuration(i));
            return new SimulatedQueue(i, _host.Memory, _allocator, ring);
        })];
        driver.AddStatus(DeviceStatus.DriverOk);
        _queues.AddRange(queues);
        return queues;
    }

    internal static void WaitFor(Func<bool> condition, string what)
    {
        long start = Stopwatch.GetTimestamp();
        while (!condition())
        {
            if (Stopwatch.GetElapsedTime(start) > Patience) Assert.Fail($"not within {Patience}: {what}");
            Thread.Yield();
        }
    }

    internal static void WaitFor(SimulatedQueue queue) => WaitFor(() =>
    {
        queue.Collect();
        return queue.InFlight == 0;
    }, "every request given back");

    public void Dispose()
    {
        foreach (SimulatedQueue queue in _queues) queue.Dispose();
    }

    private sealed class BusWindow(Bus bus, ulong start) : IBusDevice
    {
        public void Read(ulong offset, Span<byte> data) => Assert.True(bus.Read(start + offset, data));

        public void Write(ulong offset, ReadOnlySpan<byte> data) => Assert.True(bus.Write(start + offset, data));
    }
}
