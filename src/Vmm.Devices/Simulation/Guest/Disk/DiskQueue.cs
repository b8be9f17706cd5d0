using System.Buffers.Binary;

namespace Vmm.Devices.Simulation;

/// <summary>
/// A request queue of a guest's disk, with the CPUs that use it: one each if the device has enough queues, else several. A lock is around
/// the ring; a CPU that collects a request of another CPU wakes that one.
/// </summary>
internal sealed class DiskQueue
{
    /// <summary>Entries of the ring at most.</summary>
    internal const ushort SizeMax = 128;

    /// <summary>Guest memory for the ring, page by page, and an indirect table of four descriptors for each entry.</summary>
    internal const uint GuestBytes = 3 * 4096 + SizeMax * 4 * 16;

    private readonly Lock _lock = new();
    private readonly DriverQueue _ring;
    private readonly DiskRequest?[] _requests;
    private readonly List<int> _cpus = [];
    private readonly bool[] _sleeping;
    private bool _broken;
    private long _kicks;

    internal DiskQueue(int index, DriverQueue ring, int cpuCount)
    {
        Index = index;
        _ring = ring;
        _requests = new DiskRequest?[ring.Size];
        _sleeping = new bool[cpuCount];
    }

    /// <summary>Its number in the device.</summary>
    internal int Index { get; }

    internal DriverQueue Ring => _ring;

    /// <summary>Times the device was kicked.</summary>
    internal long Kicks => Volatile.Read(ref _kicks);

    internal void AddCpu(int cpu) => _cpus.Add(cpu);

    /// <summary>Puts a request into the ring; the device sees it with the next <see cref="Publish"/>.</summary>
    /// <returns>False if the ring is full.</returns>
    internal bool TryAdd(DiskRequest request, BlockRequestType type, ulong sector, uint bytes)
    {
        WriteHeader(request, type, type == BlockRequestType.Discard ? 0 : sector);
        GuestBuffer header = new(request.HeaderAddress, BlockProtocol.HeaderLength);
        GuestBuffer data = new(request.DataAddress, bytes);
        GuestBuffer status = new(request.StatusAddress, BlockProtocol.StatusLength);
        if (type == BlockRequestType.Discard) data = WriteSegment(request, sector, bytes);
        lock (_lock)
        {
            ushort id;
            bool added = type switch
            {
                BlockRequestType.In => _ring.TryAdd([header], [data, status], out id),
                BlockRequestType.Flush => _ring.TryAdd([header], [status], out id),
                _ => _ring.TryAdd([header, data], [status], out id),
            };
            if (!added) return false;
            request.Begin(type, sector, bytes);
            _requests[id] = request;
            return true;
        }
    }

    /// <summary>Makes what was added available.</summary>
    /// <returns>Whether the device wants a kick.</returns>
    internal bool Publish()
    {
        lock (_lock)
        {
            if (!_ring.Publish()) return false;
            _kicks++;
            return true;
        }
    }

    /// <summary>Takes what the device is done with.</summary>
    internal void Collect(KernelCpu kernel)
    {
        lock (_lock) CollectLocked(kernel);
    }

    /// <summary>Collects once more and asks for an interrupt; the CPU may then halt.</summary>
    internal void PrepareToSleep(KernelCpu kernel)
    {
        lock (_lock)
        {
            _sleeping[kernel.Index] = true;
            do
            {
                CollectLocked(kernel);
            }
            while (_ring.EnableInterrupts());
        }
    }

    /// <summary>The CPU is back from its halt.</summary>
    internal void Awake(KernelCpu kernel)
    {
        lock (_lock)
        {
            _sleeping[kernel.Index] = false;
            CollectLocked(kernel);
        }
    }

    /// <summary>The device interrupted: wakes the CPUs that sleep, if there is something for them.</summary>
    internal void WakeSleepers(KernelCpu kernel)
    {
        lock (_lock)
        {
            // Where CPUs share the ring, one may have collected what the others' interrupt was asked for: they have to ask again.
            if (!_broken && _cpus.Count == 1 && !_ring.HasUsed) return;
            foreach (int cpu in _cpus)
            {
                if (_sleeping[cpu] && cpu != kernel.Index) GuestKernel.Wake(kernel, cpu);
            }
        }
    }

    /// <summary>The device can't go on: what it has is over.</summary>
    internal void Break()
    {
        lock (_lock)
        {
            _broken = true;
            foreach (DiskRequest? request in _requests) request?.End(BlockStatus.IoError);
        }
    }

    private void CollectLocked(KernelCpu kernel)
    {
        while (!_broken && _ring.TryCollect(out UsedChain used))
        {
            DiskRequest request = _requests[used.Id]!;
            _requests[used.Id] = null;
            request.End((BlockStatus)Bytes(request.StatusAddress, BlockProtocol.StatusLength)[0]);
            if (request.Cpu != kernel.Index && _sleeping[request.Cpu]) GuestKernel.Wake(kernel, request.Cpu);
        }
    }

    private void WriteHeader(DiskRequest request, BlockRequestType type, ulong sector)
    {
        Span<byte> header = Bytes(request.HeaderAddress, BlockProtocol.HeaderLength);
        BinaryPrimitives.WriteUInt32LittleEndian(header, (uint)type);
        BinaryPrimitives.WriteUInt32LittleEndian(header[4..], 0);
        BinaryPrimitives.WriteUInt64LittleEndian(header[8..], sector);
        // A device that gives a request back without a word must not look like success.
        Bytes(request.StatusAddress, BlockProtocol.StatusLength)[0] = byte.MaxValue;
    }

    private GuestBuffer WriteSegment(DiskRequest request, ulong sector, uint bytes)
    {
        Span<byte> segment = Bytes(request.SegmentAddress, BlockProtocol.SegmentLength);
        BinaryPrimitives.WriteUInt64LittleEndian(segment, sector);
        BinaryPrimitives.WriteUInt32LittleEndian(segment[8..], bytes / BlockProtocol.SectorSize);
        BinaryPrimitives.WriteUInt32LittleEndian(segment[12..], 0);
        return new GuestBuffer(request.SegmentAddress, BlockProtocol.SegmentLength);
    }

    private Span<byte> Bytes(ulong address, int length) => _ring.Memory.TryGetSpan(address, (uint)length, out Span<byte> bytes)
        ? bytes
        : throw new InvalidOperationException($"the kernel's own memory at 0x{address:x} is gone");
}
