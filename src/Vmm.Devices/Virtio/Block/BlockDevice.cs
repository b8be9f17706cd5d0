using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Text;
using Microsoft.Extensions.Logging;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>A disk (virtio 1.2 § 5.2) over a backend such as a <see cref="RawImage"/>.</summary>
public sealed partial class BlockDevice : VirtioDevice
{
    private const uint SegmentBytesMax = 1 << 20;

    private static readonly string[] QueueNames = [.. Enumerable.Range(0, DiskSpec.QueuesMax).Select(i => $"requests{i}")];
    private const ulong RequestLimits = BlockProtocol.FeatureSizeMax | BlockProtocol.FeatureSegMax;

    private readonly byte[] _serial = new byte[BlockProtocol.IdLength];
    private readonly DiskSpec _spec;
    private readonly int _queueCount;
    private readonly bool _isWriteThrough;
    private readonly ulong _requestBytesMax;
    private readonly Lock _capacityLock = new();
    private readonly BlockFigures _figures;
    private volatile BlockLimits? _limits;
    private volatile bool _hasLostWrites;
    /// <summary>Whether guest memory was pinned for the queue that began last, and why not.</summary>
    private volatile bool _pinned;
    private volatile string? _notPinned;

    /// <summary>Makes a disk.</summary>
    /// <param name="name">For messages and measurements: <c>vda</c>.</param>
    /// <param name="backend">Where the sectors are. The device disposes it.</param>
    /// <param name="spec">How it presents itself; null for the defaults. What it says of the image is the backend's.</param>
    /// <exception cref="ArgumentException">A value is out of its range; the message says which.</exception>
    public BlockDevice(string name, IBlockBackend backend, DiskSpec? spec = null)
        : base(VirtioDeviceType.Block, name, BlockProtocol.ConfigLength)
    {
        ArgumentNullException.ThrowIfNull(backend);
        spec ??= new DiskSpec();
        if (spec.DeviceFailures(name).FirstOrDefault() is { } failure) throw new ArgumentException(failure);
        Medium = new BlockMedium(name, backend);
        _figures = new BlockFigures(this);
        _spec = spec;
        _queueCount = spec.QueuesInForce;
        _isWriteThrough = spec.Cache == DiskCache.WriteThrough;
        _requestBytesMax = (ulong)spec.SegmentsInForce * SegmentBytesMax;
        byte[] serial = Encoding.UTF8.GetBytes(spec.Serial ?? name);
        serial.AsSpan(0, Math.Min(serial.Length, _serial.Length)).CopyTo(_serial);
        // Disks have dozens of queues, and servers thousands of disks: what queues can share they share.
        Func<QueueContext, QueueWorker> worker = context => new BlockQueue(this, context);
        ReserveQueues(spec.QueuesInForce);
        for (int i = 0; i < spec.QueuesInForce; i++)
            AddQueue(spec.QueuesInForce == 1 ? "requests" : QueueNames[i], spec.QueueSizeInForce, worker);
        Config.Update(0, Configuration());
        backend.CapacityChanged += OnCapacityChanged;
        backend.Noticed += OnNoticed;
        if (HasCacheMode) Config.AllowMode(BlockProtocol.ConfigWriteback, 1);
    }

    /// <summary>Where the sectors are.</summary>
    public IBlockBackend Backend => Medium.Backend;

    /// <inheritdoc/>
    public override IReadOnlyList<string> RequestKinds => BlockFigures.KindNames;

    /// <summary>What it did so far, one entry for each kind of operation. Any thread.</summary>
    public IReadOnlyList<DiskFigures> Figures => [.. Enum.GetValues<BlockOperationKind>().Select(_figures.Of)];

    /// <summary>What is in it, and the queues that work on it.</summary>
    internal BlockMedium Medium { get; }

    /// <summary>Whether guest memory is to be pinned for it.</summary>
    internal bool Pins => _spec.Pin;

    /// <summary>What requests may be, for the driver it has; null without one.</summary>
    internal BlockLimits? Limits
    {
        get => _limits;
        private set => _limits = value;
    }

    /// <summary>
    /// A sync failed. The kernel may have dropped what it could not write (fsync(2), "EIO"), and says so once: no later flush of this disk
    /// can promise what the driver understands by it. Any queue's thread.
    /// </summary>
    internal bool HasLostWrites
    {
        get => _hasLostWrites;
        set => _hasLostWrites = value;
    }

    /// <inheritdoc/>
    public override ulong Features =>
        BlockProtocol.FeatureSizeMax | BlockProtocol.FeatureSegMax | BlockProtocol.FeatureBlockSize | BlockProtocol.FeatureTopology
        // Without FLUSH the driver knows that there is no cache (virtio 1.2 § 5.2.5.2).
        | (_isWriteThrough ? 0 : BlockProtocol.FeatureFlush)
        | (_queueCount > 1 ? BlockProtocol.FeatureMultiQueue : 0)
        | (Backend.IsReadOnly ? BlockProtocol.FeatureReadOnly : BlockProtocol.FeatureDiscard | BlockProtocol.FeatureWriteZeroes)
        | (HasCacheMode ? BlockProtocol.FeatureConfigWriteback : 0);

    /// <summary>Whether the driver may switch the write cache off and on.</summary>
    private bool HasCacheMode => !Backend.IsReadOnly && !_isWriteThrough;

    /// <inheritdoc/>
    public override bool QueuesAreIndependent => Backend.QueuesAreIndependent;

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
    public override void Inspect(InspectNode node)
    {
        base.Inspect(node);
        node.Add("storage", Backend.Description);
        node.Add("capacity-bytes", (long)Backend.CapacityBytes);
        node.Add("read-only", Backend.IsReadOnly);
        node.Add("lost-writes", HasLostWrites);
        if (Pins) node.Add("pinned", _pinned);
        if (_notPinned is { } why) node.Add("not-pinned", why);
        _figures.Inspect(node);
    }

    /// <summary>What carries out the requests of a queue. On its thread.</summary>
    internal IBlockEngine CreateEngine(QueueContext context)
    {
        if (!Pins || Backend is not RawImage image) return Backend.CreateEngine(context.Reactor, context.Publish);
        IBlockEngine engine = image.CreatePinnedEngine(context, out string? refusal);
        if (refusal is not null && _notPinned != refusal) Logger.LogWarning(DeviceEvents.NotPinned, "{Device}: {Refusal}", Name, refusal);
        (_pinned, _notPinned) = (refusal is null, refusal);
        return engine;
    }

    /// <summary>Operations of a kind that the storage failed. Any thread.</summary>
    public long ErrorsOf(BlockOperationKind kind) => _figures.ErrorsOf(kind);

    /// <summary>What a kind of operation is called in measurements.</summary>
    internal static string NameOf(BlockOperationKind operation) => BlockFigures.KindNames[BlockFigures.KindOf(operation)];

    /// <inheritdoc/>
    protected override void OnDriver(DriverSession driver)
    {
        ArgumentNullException.ThrowIfNull(driver);
        BlockLimits limits = new()
        {
            CapacitySectors = 0,
            IsReadOnly = Backend.IsReadOnly,
            // A limit binds the driver that accepted it. Firmware (OVMF) accepts neither, and reads 130 MiB in one request.
            DataBytesMax = (driver.Features & RequestLimits) == RequestLimits ? _requestBytesMax : ulong.MaxValue,
            Features = driver.Features,
            Serial = _serial,
        };
        lock (_capacityLock) Limits = limits with { CapacitySectors = Backend.CapacityBytes / BlockProtocol.SectorSize };
        if (!Config.IsModeKnown && limits.Has(BlockProtocol.FeatureFlush) && limits.Has(BlockProtocol.FeatureConfigWriteback))
            Logger.LogInformation(
                "{Device}: every write is synced until the driver's cache mode is known: "
                + "its front-end did not read it from this process", Name);
    }

    /// <summary>The write cache is off for a driver that can't flush it (virtio 1.2 § 5.2.5.2), and else as the last one left it.</summary>
    protected internal override void OnFeaturesAccepted(ulong features)
    {
        if (HasCacheMode)
            Config.Update(BlockProtocol.ConfigWriteback, [(features & BlockProtocol.FeatureFlush) != 0 ? Config.Mode : (byte)0]);
    }

    /// <inheritdoc/>
    protected override void OnDriverGone()
    {
        lock (_capacityLock) Limits = null;
        _pinned = false;
    }

    /// <inheritdoc/>
    /// <remarks>Its sectors are the backend's; its cache mode is part of the configuration space.</remarks>
    protected internal override void Save(StateWriter to)
    {
        ArgumentNullException.ThrowIfNull(to);
        to.Add("block-bytes", (long)Backend.LogicalBlockBytes);
        to.Add("request-bytes-max", (long)_requestBytesMax);
        to.Add("lost-writes", HasLostWrites);
        to.Add("read-only", Backend.IsReadOnly);
    }

    /// <inheritdoc/>
    protected internal override void Restore(StateReader from)
    {
        ArgumentNullException.ThrowIfNull(from);
        if (from.Int64("block-bytes", 1, uint.MaxValue) is var block && block != Backend.LogicalBlockBytes)
            throw from.Wrong("block-bytes", $"are {block}, and disk '{Name}' has blocks of {Backend.LogicalBlockBytes} bytes");
        if (from.Int64("request-bytes-max", 1, long.MaxValue) is var most && (ulong)most > _requestBytesMax)
            throw from.Wrong("request-bytes-max", $"is {most}, and disk '{Name}' takes {_requestBytesMax} at once: give it as many "
                + "segments as it had");
        // A driver that has not begun has no features yet by which this would show. Older writers did not say it.
        if (from.Has("read-only") && from.Boolean("read-only") is var wasReadOnly && wasReadOnly != Backend.IsReadOnly)
            throw from.Wrong("read-only", wasReadOnly ? $"is true: disk '{Name}' was read-only when it was saved: give it 'ro' again"
                : $"is false: disk '{Name}' could be written when it was saved: leave out 'ro'");
        // What the kernel dropped stays lost, whichever process asks.
        if (from.Boolean("lost-writes")) HasLostWrites = true;
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            Backend.CapacityChanged -= OnCapacityChanged;
            Backend.Noticed -= OnNoticed;
            Medium.Dispose();
        }
        base.Dispose(disposing);
    }

    /// <summary>The backend's storage went away or came back. Any thread.</summary>
    private void OnNoticed(string what) => Logger.LogWarning(DeviceEvents.StorageNoticed, "{Device}: {What}", Name, what);

    /// <summary>
    /// The backend grew or shrank: requests beyond its end are errors from now on, and the driver gets a configuration interrupt (virtio
    /// 1.2 § 5.2.4). Any thread.
    /// </summary>
    private void OnCapacityChanged()
    {
        ulong bytes;
        Span<byte> sectors = stackalloc byte[sizeof(ulong)];
        lock (_capacityLock)
        {
            bytes = Backend.CapacityBytes;
            BinaryPrimitives.WriteUInt64LittleEndian(sectors, bytes / BlockProtocol.SectorSize);
            Config.Update(BlockProtocol.ConfigCapacity, sectors);
            if (Limits is { } limits) Limits = limits with { CapacitySectors = bytes / BlockProtocol.SectorSize };
        }
        Logger.LogInformation(DeviceEvents.CapacityChanged, "{Device}: {Disk} has {Bytes} bytes now", Name, Backend.Description, bytes);
        Driver?.Interrupt.SignalConfig();
    }

    /// <summary>
    /// Whether writes are durable when they complete: the driver asked for that, can't flush (virtio 1.2 § 5.2.6.2), or may have asked a
    /// server that came before this one.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal bool IsWriteThrough(BlockLimits limits) =>
        !limits.Has(BlockProtocol.FeatureFlush)
            || (limits.Has(BlockProtocol.FeatureConfigWriteback) && (Config.Mode == 0 || !Config.IsModeKnown));

    /// <summary>Storage failed a request. Any queue's thread.</summary>
    internal void CountError(BlockOperation operation, Errno error)
    {
        _figures.CountError(operation.Kind);
        ReportHostFault(error, operation.Kind switch
        {
            BlockOperationKind.Read => "cannot read from the disk",
            BlockOperationKind.Write => "cannot write to the disk",
            BlockOperationKind.Flush when operation.IsUnasked => "cannot flush the disk, whose storage is away",
            BlockOperationKind.Flush =>
                "cannot flush the disk: what was written may be lost, and every later flush fails until the disk is opened anew",
            BlockOperationKind.Discard => "cannot discard blocks of the disk",
            _ => "cannot write zeroes to the disk",
        }, Backend.Description);
    }

    private byte[] Configuration()
    {
        byte[] config = new byte[BlockProtocol.ConfigLength];
        void Put32(int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(config.AsSpan(offset), value);

        BinaryPrimitives.WriteUInt64LittleEndian(config.AsSpan(BlockProtocol.ConfigCapacity),
            Backend.CapacityBytes / BlockProtocol.SectorSize);
        Put32(BlockProtocol.ConfigSizeMax, SegmentBytesMax);
        Put32(BlockProtocol.ConfigSegMax, (uint)_spec.SegmentsInForce);
        uint logical = Backend.LogicalBlockBytes;
        Put32(BlockProtocol.ConfigBlockSize, logical);
        BinaryPrimitives.WriteUInt16LittleEndian(config.AsSpan(BlockProtocol.ConfigQueues), (ushort)_queueCount);
        uint physical = Math.Max(Backend.PhysicalBlockBytes, logical);
        config[BlockProtocol.ConfigPhysicalBlockExponent] = (byte)BitOperations.Log2(physical / logical);
        BinaryPrimitives.WriteUInt16LittleEndian(config.AsSpan(BlockProtocol.ConfigMinIoSize), (ushort)(physical / logical));
        if (Backend.IsReadOnly) return config;
        config[BlockProtocol.ConfigWriteback] = HasCacheMode ? (byte)1 : (byte)0;
        Put32(BlockProtocol.ConfigDiscardSectorsMax, BlockRequest.DiscardSectorsMax);
        Put32(BlockProtocol.ConfigDiscardSegmentsMax, BlockRequest.SegmentsMax);
        Put32(BlockProtocol.ConfigDiscardAlignment, Backend.DiscardBlockBytes / BlockProtocol.SectorSize);
        Put32(BlockProtocol.ConfigWriteZeroesSectorsMax, BlockRequest.WriteZeroesSectorsMax);
        Put32(BlockProtocol.ConfigWriteZeroesSegmentsMax, BlockRequest.SegmentsMax);
        config[BlockProtocol.ConfigWriteZeroesMayUnmap] = 1;
        return config;
    }
}
