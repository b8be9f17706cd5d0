using System.Buffers.Binary;
using System.Diagnostics;
using Vmm.Devices;
using Vmm.Devices.Simulation;
using Vmm.Devices.VhostUser;

namespace Vmm.Benchmarks;

/// <summary>A well-behaved front-end that reads 4 KiB blocks, one after the other, and waits for each call as a guest does.</summary>
internal sealed class NeighbourLoad : IDisposable
{
    private const ulong MemoryBytes = 1 << 20;
    private const uint HeaderBytes = 16, DataBytes = 4096;
    private const uint TypeIn = 0;

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    private readonly GuestMemory _memory = GuestMemory.Create(MemoryBytes);
    private readonly GuestAllocator _allocator = new(0, MemoryBytes);
    private readonly VhostUserFrontend _frontend;
    private readonly Reactor _waiter = new();
    private readonly ulong _header, _data, _status;
    private readonly long _blocks;
    private readonly ushort _ringSize;
    private DriverQueue _queue;
    private VhostUserRing _ring;
    private Subscription<EventFd> _call;
    private GuestRegion? _plugged;
    private long _next;

    internal NeighbourLoad(string socket, long diskBytes, ushort ringSize = 16)
    {
        _ringSize = ringSize;
        _blocks = diskBytes / DataBytes;
        (_header, _data, _status) = (_allocator.Allocate(HeaderBytes), _allocator.Allocate(DataBytes), _allocator.Allocate(1));
        _frontend = VhostUserFrontend.Connect(socket, Patience);
        _frontend.Negotiate(VirtioFeatures.EventIndex | VirtioFeatures.IndirectDescriptors);
        _frontend.ShareMemory(_memory);
        _queue = DriverQueue.Create(_memory, _allocator, _ringSize, _frontend.Features);
        _ring = _frontend.StartRing(0, _queue);
        _call = WatchCall();
    }

    /// <summary>Requests that failed or were not answered.</summary>
    internal int Errors { get; private set; }

    /// <summary>Reads for a while.</summary>
    /// <param name="time">How long.</param>
    /// <param name="latency">Gets the time of each request.</param>
    internal void Run(TimeSpan time, LatencyHistogram latency)
    {
        for (long start = Stopwatch.GetTimestamp(); Stopwatch.GetElapsedTime(start) < time;)
        {
            long submitted = Stopwatch.GetTimestamp();
            if (!Read()) Errors++;
            latency.Record((long)Stopwatch.GetElapsedTime(submitted).TotalNanoseconds);
        }
    }

    /// <summary>As for a pause of the guest: the ring stops, and goes on where it stopped.</summary>
    internal void Pause() => Start(_queue, _frontend.StopRing(0));

    /// <summary>As for a restart of the guest: another driver, whose ring begins anew.</summary>
    internal void Reboot()
    {
        _frontend.StopRing(0);
        _queue.Dispose();
        _queue = DriverQueue.Create(_memory, new GuestAllocator(MemoryBytes / 2, MemoryBytes / 2), _ringSize, _frontend.Features);
        Start(_queue, null);
    }

    /// <summary>Adds memory to the guest, or takes back what was added.</summary>
    internal void ChangeMemory()
    {
        if (_plugged is { } plugged)
        {
            _frontend.RemoveRegion(plugged);
            plugged.Dispose();
            _plugged = null;
            return;
        }
        _plugged = GuestRegion.Create(MemoryBytes, MemoryBytes);
        _frontend.AddRegion(_plugged);
    }

    /// <summary>Makes a request, and does not wait for it.</summary>
    internal void Leave()
    {
        Submit();
        _ring.PublishAndKick();
    }

    public void Dispose()
    {
        _frontend.Dispose();
        _ring.Dispose();
        _queue.Dispose();
        _plugged?.Dispose();
        _memory.Dispose();
        _waiter.Dispose();
    }

    private void Start(DriverQueue queue, uint? baseIndex)
    {
        _waiter.Remove(_call);
        _ring.Dispose();
        _ring = _frontend.StartRing(0, queue, baseIndex);
        _call = WatchCall();
    }

    private Subscription<EventFd> WatchCall() =>
        Interest.Kick.WithFd(_ring.Call.Duplicate()).WithHandler(_ => { }).RegisterInto(_waiter);

    private void Submit()
    {
        Span<byte> header = stackalloc byte[(int)HeaderBytes];
        header.Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(header, TypeIn);
        BinaryPrimitives.WriteInt64LittleEndian(header[8..], _next++ % _blocks * (DataBytes / 512));
        _memory.TryWrite(_header, header);
        _memory.TryWrite(_status, [0xff]);
        _queue.TryAdd([new GuestBuffer(_header, HeaderBytes)], [new GuestBuffer(_data, DataBytes), new GuestBuffer(_status, 1)], out _);
    }

    private bool Read()
    {
        Submit();
        _ring.PublishAndKick();
        long start = Stopwatch.GetTimestamp();
        while (!_queue.EnableInterrupts())
        {
            _waiter.RunOnce(TimeSpan.FromSeconds(1));
            if (Stopwatch.GetElapsedTime(start) > Patience) return false;
        }
        Span<byte> status = stackalloc byte[1];
        return _queue.TryCollect(out _) && _memory.TryRead(_status, status) && status[0] == 0;
    }
}
