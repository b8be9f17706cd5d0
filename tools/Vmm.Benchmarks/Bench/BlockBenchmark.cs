using BenchmarkDotNet.Attributes;
using Vmm.Devices;
using Vmm.Devices.Simulation;

namespace Vmm.Benchmarks;

/// <summary>
/// One read of a disk, from the driver's ring to the used entry: kick, dispatch, pread into guest memory, publish, interrupt.
/// </summary>
[MemoryDiagnoser]
public class BlockBenchmark
{
    private const int HeaderBytes = 16;
    private const int StatusBytes = 1;

    private readonly GuestBuffer[] _readable = new GuestBuffer[1];
    private readonly GuestBuffer[] _writable = new GuestBuffer[2];
    private string _path = "";
    private SimulatedGuest? _guest;
    private SimulatedQueue? _queue;

    /// <summary>Bytes of the request.</summary>
    [Params(4096, 65536)]
    public int Bytes { get; set; }

    /// <summary>Makes a disk in the page cache and the buffers of one request.</summary>
    [GlobalSetup]
    public void SetUp()
    {
        _path = Path.GetTempFileName();
        File.WriteAllBytes(_path, new byte[1 << 20]);
        _guest = SimulatedGuest.For(new BlockDevice("vda", RawImage.Open(_path)));
        _queue = _guest.Queue(0);
        _readable[0] = _queue.Place(new byte[HeaderBytes]);
        _writable[0] = _queue.Place(new byte[Bytes]);
        _writable[1] = _queue.Place(new byte[StatusBytes]);
    }

    /// <summary>Closes and deletes the disk.</summary>
    [GlobalCleanup]
    public void CleanUp()
    {
        _guest?.Dispose();
        File.Delete(_path);
    }

    /// <summary>Add, kick, turn, collect.</summary>
    [Benchmark]
    public void OneRead()
    {
        DriverQueue ring = _queue!.Ring;
        if (!ring.TryAdd(_readable, _writable, out _)) throw new InvalidOperationException("the ring is full");
        if (ring.Publish()) _guest!.Kick(0);
        while (!ring.TryCollect(out _)) _guest!.Reactor.RunOnce(TimeSpan.Zero);
    }
}
