using System.Buffers.Binary;
using System.Runtime.CompilerServices;

namespace Vmm.Devices.Simulation;

/// <summary>
/// The guest's driver of a virtio block device (virtio 1.2 § 5.2): a queue for each CPU as far as there are queues, many requests in
/// flight.
/// </summary>
internal sealed partial class GuestDisk(GuestTransport transport, string name) : GuestDriver(transport, name)
{
    /// <summary>Requests a CPU has in flight at most.</summary>
    private const int DepthMax = 16;

    private const ulong WantedFeatures = BlockProtocol.FeatureSizeMax | BlockProtocol.FeatureSegMax | BlockProtocol.FeatureReadOnly
        | BlockProtocol.FeatureBlockSize | BlockProtocol.FeatureFlush | BlockProtocol.FeatureMultiQueue | BlockProtocol.FeatureDiscard;

    private DiskQueue[] _queues = [];
    private DiskRequest[][] _requests = [];
    private long _completed;
    private long _bytes;
    private uint _discardBytesMax;

    /// <summary>Sectors of the disk.</summary>
    internal ulong Sectors { get; private set; }

    /// <summary>Bytes of the disk.</summary>
    internal ulong CapacityBytes => Sectors * BlockProtocol.SectorSize;

    internal bool IsReadOnly => Has(BlockProtocol.FeatureReadOnly);

    /// <summary>Most bytes of data of one request.</summary>
    internal uint RequestBytesMax { get; private set; }

    internal override string Description =>
        $"disk, {CapacityBytes} bytes{(IsReadOnly ? ", read-only" : "")}, {_queues.Length} {(_queues.Length == 1 ? "queue" : "queues")}";

    internal override string Statistics =>
        $"{Volatile.Read(ref _completed)} requests, {Volatile.Read(ref _bytes)} bytes, {_queues.Sum(queue => queue.Kicks)} kicks, "
        + $"{Interrupts} interrupts";

    internal override async ValueTask<string?> Start(KernelCpu kernel)
    {
        if (!await Transport.Negotiate(WantedFeatures)) return "the device refuses the features";
        byte[] config = await Transport.ReadConfig(BlockProtocol.ConfigLength);
        Sectors = BinaryPrimitives.ReadUInt64LittleEndian(config);
        if (Has(BlockProtocol.FeatureDiscard))
        {
            uint sectors = BinaryPrimitives.ReadUInt32LittleEndian(config.AsSpan(BlockProtocol.ConfigDiscardSectorsMax));
            _discardBytesMax = Math.Min(sectors, uint.MaxValue / BlockProtocol.SectorSize) * BlockProtocol.SectorSize;
        }
        int offered = Has(BlockProtocol.FeatureMultiQueue)
            ? BinaryPrimitives.ReadUInt16LittleEndian(config.AsSpan(BlockProtocol.ConfigQueues))
            : 1;
        _queues = new DiskQueue[Math.Min(Math.Max(offered, 1), kernel.Kernel.CpuCount)];
        for (int i = 0; i < _queues.Length; i++)
        {
            ushort sizeMax = await Transport.QueueSizeMax(i);
            if (sizeMax == 0) return $"the device has no queue {i} of the {offered} it promises";
            if (!await StartQueue(kernel, i, Math.Min(sizeMax, DiskQueue.SizeMax), SizeMaxOf(config)))
                return $"not enough guest memory for its {_queues.Length} queues";
        }
        await Transport.SetStatus(DeviceStatus.DriverOk);
        // As a kernel that looks for partitions; what it finds does not matter here, that it can read does.
        return await ReadInOrder(kernel, 0, 1, _ => { });
    }

    protected override void OnUsedBuffers(KernelCpu kernel)
    {
        foreach (DiskQueue queue in _queues)
        {
            if (IsBroken) queue.Break();
            queue.WakeSleepers(kernel);
        }
    }

    /// <summary>Most bytes of one buffer.</summary>
    private uint SizeMaxOf(byte[] config) => Has(BlockProtocol.FeatureSizeMax)
        ? BinaryPrimitives.ReadUInt32LittleEndian(config.AsSpan(BlockProtocol.ConfigSizeMax)) & ~(uint)(BlockProtocol.SectorSize - 1)
        : uint.MaxValue;

    private async ValueTask<bool> StartQueue(KernelCpu kernel, int index, ushort size, uint bufferBytesMax)
    {
        GuestPages pages = kernel.Kernel.Pages;
        uint sharers = (uint)(kernel.Kernel.CpuCount + _queues.Length - 1) / (uint)_queues.Length;
        if (pages.TakeForQueue(DiskQueue.GuestBytes + sharers * DepthMax * DiskRequest.GuestBytes) is not { } allocator) return false;
        DriverQueue ring = DriverQueue.Create(kernel.Cpu.Memory, allocator, size, Transport.Features);
        DiskQueue queue = new(index, ring, kernel.Kernel.CpuCount);
        _queues[index] = queue;
        if (index == 0) _requests = new DiskRequest[kernel.Kernel.CpuCount][];

        int depth = (int)Math.Clamp(pages.DataBytes / GuestPages.DataUnit, 1, DepthMax);
        uint piece = pages.DataBytes / (uint)depth & ~(GuestPages.DataUnit - 1);
        RequestBytesMax = Math.Min(piece, Math.Max(bufferBytesMax, BlockProtocol.SectorSize));
        for (int cpu = index; cpu < kernel.Kernel.CpuCount; cpu += _queues.Length)
        {
            queue.AddCpu(cpu);
            ulong data = pages.DataOf(cpu);
            _requests[cpu] = [.. Enumerable.Range(0, depth).Select(i =>
                new DiskRequest(cpu, allocator.Allocate(DiskRequest.GuestBytes), data + (ulong)i * piece))];
        }
        await Transport.StartQueue(index, ring);
        return true;
    }

    private DiskQueue QueueOf(KernelCpu kernel) => _queues[kernel.Index % _queues.Length];

    /// <summary>The bytes of a request's data.</summary>
    private static Span<byte> DataOf(KernelCpu kernel, DiskRequest request, uint bytes) =>
        kernel.Cpu.Memory.TryGetSpan(request.DataAddress, bytes, out Span<byte> data)
            ? data
            : throw new InvalidOperationException($"the kernel's own memory at 0x{request.DataAddress:x} is gone");

    /// <summary>
    /// Puts a request into the CPU's queue. The ring is larger than what the CPUs that share it have in flight, or it is waited for.
    /// </summary>
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    private async ValueTask Submit(KernelCpu kernel, DiskRequest request, BlockRequestType type, ulong sector, uint bytes)
    {
        DiskQueue queue = QueueOf(kernel);
        while (!queue.TryAdd(request, type, sector, bytes))
        {
            await Kick(kernel);
            await WaitForDevice(kernel, null);
            await kernel.Yield();
        }
        request.IsBusy = true;
        if (IsBroken) request.End(BlockStatus.IoError);
    }

    /// <summary>Has the device look at what was submitted.</summary>
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    private async ValueTask Kick(KernelCpu kernel)
    {
        DiskQueue queue = QueueOf(kernel);
        if (queue.Publish()) await Transport.Kick(kernel.Cpu, queue.Index);
    }

    /// <summary>
    /// Sleeps, unless it happened already, until the device is done with a request; null for any of this CPU's. May come back early.
    /// </summary>
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    private async ValueTask WaitForDevice(KernelCpu kernel, DiskRequest? awaited)
    {
        DiskQueue queue = QueueOf(kernel);
        queue.PrepareToSleep(kernel);
        if (!(awaited?.IsDone ?? IsAnyDone(kernel))) await kernel.WaitForInterrupt();
        queue.Awake(kernel);
    }

    private bool IsAnyDone(KernelCpu kernel)
    {
        foreach (DiskRequest request in _requests[kernel.Index])
        {
            if (request.IsBusy && request.IsDone) return true;
        }
        return false;
    }

    /// <summary>The request's end was seen: counts it.</summary>
    private bool Finish(DiskRequest request)
    {
        request.IsBusy = false;
        Interlocked.Increment(ref _completed);
        bool ok = request.Status == BlockStatus.Ok;
        if (ok && request.Type is BlockRequestType.In or BlockRequestType.Out) Interlocked.Add(ref _bytes, request.Bytes);
        return ok;
    }
}
