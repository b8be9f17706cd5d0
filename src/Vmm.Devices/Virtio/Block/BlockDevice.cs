using System.Buffers.Binary;
using System.Numerics;
using System.Text;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>How a block device presents itself. Read once, when the device is made.</summary>
public sealed record BlockDeviceOptions
{
    /// <summary>Most queues: the width of their number in the configuration space allows more, no machine needs them.</summary>
    public const int QueuesMax = 256;

    /// <summary>Request queues; each may be served by a reactor of its own.</summary>
    public int Queues { get; init; } = 1;

    /// <summary>Most entries of each queue, a power of two.</summary>
    public ushort QueueSize { get; init; } = 256;

    /// <summary>
    /// Most data buffers of a request, as the driver is told. Null: as many as a queue of <see cref="QueueSize"/> entries holds, which is too many
    /// where the front-end makes the queue shorter.
    /// </summary>
    public int? SegmentsMax { get; init; }

    /// <summary>What the driver reads as the serial number: at most 20 bytes of UTF-8. Null: the device's name.</summary>
    public string? Serial { get; init; }

    internal int SegmentsInForce => SegmentsMax ?? QueueSize - BlockProtocol.SegmentsBesideData;

    internal void Validate(string name)
    {
        if (Queues is < 1 or > QueuesMax)
            throw new ArgumentException($"disk '{name}' has {Queues} queues: give it 1 to {QueuesMax}");
        if (QueueSize < 4 || !BitOperations.IsPow2(QueueSize))
            throw new ArgumentException($"disk '{name}' has a queue size of {QueueSize}: give it a power of two from 4 to 32768");
        if (SegmentsMax is { } segments && (segments < 1 || segments > QueueSize - BlockProtocol.SegmentsBesideData))
            throw new ArgumentException($"disk '{name}' has at most {segments} segments a request: give it 1 to {QueueSize - BlockProtocol.SegmentsBesideData}");
        if (Encoding.UTF8.GetByteCount(Serial ?? "") > BlockProtocol.IdLength)
            throw new ArgumentException($"disk '{name}' has the serial number '{Serial}': it is longer than {BlockProtocol.IdLength} bytes");
    }
}

/// <summary>A disk (virtio 1.2 § 5.2) over a backend such as a <see cref="RawImage"/>.</summary>
public sealed partial class BlockDevice : VirtioDevice
{
    private const uint SegmentBytesMax = 1 << 20;

    private readonly byte[] _serial = new byte[BlockProtocol.IdLength];
    private readonly BlockQueue?[] _serving;
    private readonly ulong _requestBytesMax;
    private volatile BlockLimits? _limits;

    /// <summary>Makes a disk.</summary>
    /// <param name="name">For messages and measurements: <c>vda</c>.</param>
    /// <param name="backend">Where the sectors are. The device disposes it.</param>
    /// <param name="options">Null for the defaults.</param>
    /// <exception cref="ArgumentException">An option is out of its range; the message says which.</exception>
    public BlockDevice(string name, IBlockBackend backend, BlockDeviceOptions? options = null)
        : base(VirtioDeviceType.Block, name, BlockProtocol.ConfigLength)
    {
        ArgumentNullException.ThrowIfNull(backend);
        options ??= new BlockDeviceOptions();
        options.Validate(name);
        Backend = backend;
        _serving = new BlockQueue?[options.Queues];
        _requestBytesMax = (ulong)options.SegmentsInForce * SegmentBytesMax;
        byte[] serial = Encoding.UTF8.GetBytes(options.Serial ?? name);
        serial.AsSpan(0, Math.Min(serial.Length, _serial.Length)).CopyTo(_serial);
        for (int i = 0; i < options.Queues; i++) AddQueue(options.Queues == 1 ? "requests" : $"requests{i}", options.QueueSize, ServeRequests);
        Config.Update(0, Configuration(options));
        if (!backend.IsReadOnly) Config.AllowWrites(BlockProtocol.ConfigWriteback, 1);
    }

    /// <summary>Where the sectors are.</summary>
    public IBlockBackend Backend { get; }

    /// <inheritdoc/>
    public override ulong Features =>
        BlockProtocol.FeatureSizeMax | BlockProtocol.FeatureSegMax | BlockProtocol.FeatureBlockSize | BlockProtocol.FeatureFlush | BlockProtocol.FeatureTopology
        | (_serving.Length > 1 ? BlockProtocol.FeatureMultiQueue : 0)
        | (Backend.IsReadOnly
            ? BlockProtocol.FeatureReadOnly
            : BlockProtocol.FeatureDiscard | BlockProtocol.FeatureWriteZeroes | BlockProtocol.FeatureConfigWriteback);

    /// <inheritdoc/>
    public override bool QueuesAreIndependent => true;

    /// <summary>What Linux calls a machine's disks: <c>vda</c> … <c>vdz</c>, <c>vdaa</c> …, <c>vdzz</c>, <c>vdaaa</c> and so on.</summary>
    /// <param name="index">From 0, in the order the guest finds them.</param>
    public static string NameOf(int index)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(index);
        string letters = "";
        for (int rest = index; rest >= 0; rest = (rest / 26) - 1) letters = (char)('a' + (rest % 26)) + letters;
        return "vd" + letters;
    }

    /// <inheritdoc/>
    protected override void OnActivate(DeviceActivation activation)
    {
        ArgumentNullException.ThrowIfNull(activation);
        _limits = new BlockLimits
        {
            CapacitySectors = Backend.CapacityBytes / BlockProtocol.SectorSize,
            IsReadOnly = Backend.IsReadOnly,
            DataBytesMax = _requestBytesMax,
            Features = activation.Features,
            Serial = _serial,
            IsWriteThrough = IsWriteThrough(activation.Features),
        };
    }

    /// <summary>The driver switches its write cache on or off (virtio 1.2 § 5.2.5): for all requests taken from now on.</summary>
    protected override void OnConfigWritten(int offset, int length)
    {
        if (_limits is { } limits) _limits = limits with { IsWriteThrough = IsWriteThrough(limits.Features) };
    }

    /// <inheritdoc/>
    protected override void OnReset()
    {
        _limits = null;
        if (!Backend.IsReadOnly) Config.Update(BlockProtocol.ConfigWriteback, [1]);
    }

    /// <inheritdoc/>
    protected override void OnQueueStarted(VirtQueue queue, IReactor reactor)
    {
        ArgumentNullException.ThrowIfNull(queue);
        _serving[queue.Index] = new BlockQueue(this, queue, reactor);
    }

    /// <inheritdoc/>
    protected override void OnQueueStopped(VirtQueue queue)
    {
        ArgumentNullException.ThrowIfNull(queue);
        _serving[queue.Index]?.Dispose();
        _serving[queue.Index] = null;
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing) Backend.Dispose();
        base.Dispose(disposing);
    }

    /// <summary>Writes are durable when they complete if the driver asked for that, or if it can't flush (virtio 1.2 § 5.2.6.2).</summary>
    private bool IsWriteThrough(ulong features)
    {
        if ((features & BlockProtocol.FeatureConfigWriteback) == 0) return (features & BlockProtocol.FeatureFlush) == 0;
        Span<byte> writeback = stackalloc byte[1];
        Config.Read(BlockProtocol.ConfigWriteback, writeback);
        return writeback[0] == 0;
    }

    private byte[] Configuration(BlockDeviceOptions options)
    {
        byte[] config = new byte[BlockProtocol.ConfigLength];
        void Put32(int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(config.AsSpan(offset), value);

        BinaryPrimitives.WriteUInt64LittleEndian(config.AsSpan(BlockProtocol.ConfigCapacity), Backend.CapacityBytes / BlockProtocol.SectorSize);
        Put32(BlockProtocol.ConfigSizeMax, SegmentBytesMax);
        Put32(BlockProtocol.ConfigSegMax, (uint)options.SegmentsInForce);
        uint logical = Backend.LogicalBlockBytes;
        Put32(BlockProtocol.ConfigBlockSize, logical);
        BinaryPrimitives.WriteUInt16LittleEndian(config.AsSpan(BlockProtocol.ConfigQueues), (ushort)options.Queues);
        uint physical = Math.Max(Backend.PhysicalBlockBytes, logical);
        config[BlockProtocol.ConfigPhysicalBlockExponent] = (byte)BitOperations.Log2(physical / logical);
        BinaryPrimitives.WriteUInt16LittleEndian(config.AsSpan(BlockProtocol.ConfigMinIoSize), (ushort)(physical / logical));
        if (Backend.IsReadOnly) return config;
        config[BlockProtocol.ConfigWriteback] = 1;
        Put32(BlockProtocol.ConfigDiscardSectorsMax, BlockRequest.DiscardSectorsMax);
        Put32(BlockProtocol.ConfigDiscardSegmentsMax, BlockRequest.SegmentsMax);
        Put32(BlockProtocol.ConfigDiscardAlignment, 1);
        Put32(BlockProtocol.ConfigWriteZeroesSectorsMax, BlockRequest.WriteZeroesSectorsMax);
        Put32(BlockProtocol.ConfigWriteZeroesSegmentsMax, BlockRequest.SegmentsMax);
        config[BlockProtocol.ConfigWriteZeroesMayUnmap] = 1;
        return config;
    }
}
