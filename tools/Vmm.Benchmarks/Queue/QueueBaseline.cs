using System.Runtime.InteropServices;
using Vmm.Devices;
using Vmm.Devices.Simulation;

namespace Vmm.Benchmarks;

/// <summary>The walk of queue_baseline.c over the ring that a driver of ours laid out.</summary>
internal sealed partial class QueueBaseline : IContender
{
    private const string Source = "queue_baseline.c";

    private readonly RepeatingDriver _driver;
    private readonly nint _queue;

    internal QueueBaseline(bool packed, int length)
    {
        _driver = new RepeatingDriver(packed, length);
        GuestRegion region = _driver.Memory.Regions[0];
        DriverQueue ring = _driver.Queue;
        // The addresses are those of a ring in memory that the driver holds until Dispose.
        _queue = Create(packed, ring.Size, (uint)length, region.HostAddress, region.Length,
            ring.DescriptorTable, ring.DriverRing, ring.DeviceRing);
    }

    public int Quantum => RepeatingDriver.Batch;

    public void Run(long operations)
    {
        long done = Run(_queue, operations);
        if (done != operations) throw new InvalidOperationException($"the C baseline served {done} of {operations} chains");
    }

    public void Dispose()
    {
        Destroy(_queue);
        _driver.Dispose();
    }

    [LibraryImport(Source, EntryPoint = "queue_create")]
    private static partial nint Create([MarshalAs(UnmanagedType.U1)] bool packed, uint size, uint length, nint host, ulong hostLength,
        ulong table, ulong driver, ulong device);

    [LibraryImport(Source, EntryPoint = "queue_run")]
    private static partial long Run(nint queue, long chains);

    [LibraryImport(Source, EntryPoint = "queue_destroy")]
    private static partial void Destroy(nint queue);
}
