using System.Buffers.Binary;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// A memory balloon (virtio 1.2 § 5.5): the host asks for memory by a target, the guest gives pages up, and these go back to the host for
/// real. With free page reporting the guest also reports pages it happens not to use.
/// </summary>
public sealed class BalloonDevice : VirtioDevice
{
    /// <summary>Most bytes that can be asked for: the target is a 32-bit number of pages.</summary>
    public const ulong TargetBytesMax = uint.MaxValue * BalloonProtocol.PageBytes;

    private const ushort QueueSize = 128;

    private static readonly GuestFault NotNegotiated =
        new(GuestFaultKind.Request, "a request in a balloon queue that was not negotiated (§ 5.5.2)");

    private readonly BalloonStatistics _statistics = new();
    private long _returnedBytes;
    private ulong _memoryBytes;

    /// <summary>Makes an empty balloon.</summary>
    /// <param name="name">For messages and measurements: <c>balloon0</c>.</param>
    public BalloonDevice(string name) : base(VirtioDeviceType.Balloon, name, BalloonProtocol.ConfigLength)
    {
        Config.AllowWrites(BalloonProtocol.ConfigActual, sizeof(uint));
        Config.AllowWrites(BalloonProtocol.ConfigPoison, sizeof(uint));
        AddQueue("inflate", QueueSize, context => new InflateWorker(this, context));
        AddQueue("deflate", QueueSize, Deflate);
        // Which of these two a queue is depends on the features the driver takes: see OptionalWorker.
        AddQueue("statistics-or-reporting", QueueSize, OptionalWorker);
        AddQueue("reporting", QueueSize, OptionalWorker);
    }

    /// <inheritdoc/>
    public override ulong Features => BalloonProtocol.FeatureStatistics | BalloonProtocol.FeatureDeflateOnOom
        | BalloonProtocol.FeaturePagePoison | BalloonProtocol.FeatureReporting;

    /// <summary>
    /// Bytes the host wants the guest to give up, in whole pages of 4096, at most <see cref="TargetBytesMax"/>. Any thread. The guest gets
    /// there when it can; see <see cref="ActualBytes"/>.
    /// </summary>
    public ulong TargetBytes
    {
        get => ReadConfig(BalloonProtocol.ConfigTarget) * BalloonProtocol.PageBytes;
        set
        {
            ulong pages = value / BalloonProtocol.PageBytes;
            ArgumentOutOfRangeException.ThrowIfGreaterThan(value, TargetBytesMax);
            Span<byte> config = stackalloc byte[sizeof(uint)];
            BinaryPrimitives.WriteUInt32LittleEndian(config, (uint)pages);
            ChangeConfig(BalloonProtocol.ConfigTarget, config);
        }
    }

    /// <summary>Bytes of the machine's memory, which is the most that it can give up; 0 before it had a driver. Any thread.</summary>
    public ulong MemoryBytes => Volatile.Read(ref _memoryBytes);

    /// <summary>Bytes the guest says it has given up. Any thread.</summary>
    public ulong ActualBytes => ReadConfig(BalloonProtocol.ConfigActual) * BalloonProtocol.PageBytes;

    /// <summary>Bytes of the pages that went back to the host so far, by the balloon and by reports. Any thread.</summary>
    public long ReturnedBytes => Volatile.Read(ref _returnedBytes);

    /// <summary>
    /// What the guest reported last: it is asked anew whenever the balloon's size changes. Null if it reported nothing yet. Any thread.
    /// </summary>
    public IReadOnlyDictionary<BalloonStatistic, ulong>? LastStatistics => _statistics.Last;

    /// <summary>Whether the driver expects a pattern in its free pages.</summary>
    internal bool IsPoisoned => ReadConfig(BalloonProtocol.ConfigPoison) != 0;

    /// <summary>Asks the guest for its statistics, and waits until it answers. Any thread.</summary>
    /// <param name="cancellation">Gives up; a guest with no driver for the balloon never answers.</param>
    public Task<IReadOnlyDictionary<BalloonStatistic, ulong>> ReadStatisticsAsync(CancellationToken cancellation) =>
        _statistics.ReadAsync(cancellation);

    /// <inheritdoc/>
    public override void Inspect(InspectNode node)
    {
        base.Inspect(node);
        node.Add("target-bytes", (long)TargetBytes);
        node.Add("actual-bytes", (long)ActualBytes);
        node.Add("returned-bytes", ReturnedBytes);
    }

    /// <inheritdoc/>
    protected override void OnDriver(DriverSession driver)
    {
        ArgumentNullException.ThrowIfNull(driver);
        Volatile.Write(ref _memoryBytes, driver.Memory.Regions.Aggregate(0ul, (all, region) => all + region.Length));
    }

    /// <inheritdoc/>
    protected override void OnConfigWritten(int offset, int length)
    {
        // The driver changed its balloon, and with it all that it reported of its memory.
        if (offset < BalloonProtocol.ConfigActual + sizeof(uint)) _statistics.Renew();
    }

    /// <inheritdoc/>
    protected override void OnDriverGone()
    {
        // The driver's balloon is gone with the driver: it starts from nothing.
        Config.Update(BalloonProtocol.ConfigActual, [0, 0, 0, 0]);
        Config.Update(BalloonProtocol.ConfigPoison, [0, 0, 0, 0]);
    }

    /// <inheritdoc/>
    /// <remarks>What the guest has given up is in the configuration space, and is not in its saved memory.</remarks>
    protected internal override void Save(StateWriter to)
    {
        ArgumentNullException.ThrowIfNull(to);
        to.Add("target-bytes", (long)TargetBytes);
        _statistics.Save(to);
    }

    /// <inheritdoc/>
    /// <remarks>A target that this process has set already is the one in force.</remarks>
    protected internal override void Restore(StateReader from)
    {
        ArgumentNullException.ThrowIfNull(from);
        ulong target = (ulong)from.Int64("target-bytes", 0, (long)TargetBytesMax);
        if (TargetBytes == 0) TargetBytes = target;
        _statistics.Restore(from);
    }

    /// <summary>Gives guest memory back to the host.</summary>
    internal void Return(GuestMemory memory, ulong start, ulong length)
    {
        if (memory.TryDiscard(start, length)) Volatile.Write(ref _returnedBytes, _returnedBytes + (long)length);
        else ReportHostFault(Errno.NotSupported, "cannot give guest memory back to the host", "the file behind guest memory");
    }

    /// <summary>A queue that was not negotiated takes no number: drivers count those they use (as Linux and QEMU do).</summary>
    private QueueWorker OptionalWorker(QueueContext context)
    {
        int next = BalloonProtocol.DeflateQueue + 1;
        if (context.Driver.Has(BalloonProtocol.FeatureStatistics) && context.Index == next++) return _statistics.Serve(context);
        return context.Driver.Has(BalloonProtocol.FeatureReporting) && context.Index == next
            ? new ReportWorker(this, context)
            : new SimpleWorker(context, Refuse);
    }

    /// <summary>The guest takes pages back: they come when it touches them.</summary>
    private static void Deflate(QueueContext context)
    {
        VirtQueue queue = context.Queue;
        while (queue.TryPop(out DescriptorChain? chain)) queue.Push(chain, 0);
    }

    private static void Refuse(QueueContext context)
    {
        VirtQueue queue = context.Queue;
        while (queue.TryPop(out DescriptorChain? chain))
        {
            queue.Push(chain, 0);
            queue.Fault(NotNegotiated);
        }
    }

    private uint ReadConfig(int offset)
    {
        Span<byte> value = stackalloc byte[sizeof(uint)];
        Config.Read(offset, value);
        return BinaryPrimitives.ReadUInt32LittleEndian(value);
    }
}
