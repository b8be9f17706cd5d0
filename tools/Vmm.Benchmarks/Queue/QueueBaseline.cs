using System.Runtime.InteropServices;
using Vmm.Devices;
using Vmm.Devices.Simulation;

namespace Vmm.Benchmarks;

/// <summary>The walk of queue_baseline.c over the ring that a driver of ours laid out.</summary>
internal sealed unsafe class QueueBaseline : IContender
{
    private static readonly Lazy<Functions> Loaded = new(() => new Functions(BaselineLibrary.Load("queue_baseline.c")));

    private readonly RepeatingDriver _driver;
    private readonly nint _queue;

    internal QueueBaseline(bool packed, int length)
    {
        _driver = new RepeatingDriver(packed, length);
        GuestRegion region = _driver.Memory.Regions[0];
        DriverQueue ring = _driver.Queue;
        // SAFETY: the signatures of these function pointers are those of queue_baseline.c, which was compiled from the file beside us; the
        // addresses are those of a ring in memory that the driver holds until Dispose.
        _queue = Loaded.Value.Create(packed, ring.Size, (uint)length, region.HostAddress, region.Length,
            ring.DescriptorTable, ring.DriverRing, ring.DeviceRing);
    }

    public int Quantum => RepeatingDriver.Batch;

    public void Run(long operations)
    {
        long done = Loaded.Value.Run(_queue, operations);
        if (done != operations) throw new InvalidOperationException($"the C baseline served {done} of {operations} chains");
    }

    public void Dispose()
    {
        Loaded.Value.Destroy(_queue);
        _driver.Dispose();
    }

    private sealed class Functions(nint library)
    {
        internal readonly delegate* unmanaged<bool, uint, uint, nint, ulong, ulong, ulong, ulong, nint> Create =
            (delegate* unmanaged<bool, uint, uint, nint, ulong, ulong, ulong, ulong, nint>)NativeLibrary.GetExport(library, "queue_create");
        internal readonly delegate* unmanaged<nint, long, long> Run =
            (delegate* unmanaged<nint, long, long>)NativeLibrary.GetExport(library, "queue_run");
        internal readonly delegate* unmanaged<nint, void> Destroy =
            (delegate* unmanaged<nint, void>)NativeLibrary.GetExport(library, "queue_destroy");
    }
}
