using System.Buffers.Binary;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// A memory balloon (virtio 1.2 § 5.5): the host asks for memory by a target, the guest gives pages up, and these go back to the host for
/// real. With free page reporting the guest also reports pages it happens not to use.
/// </summary>
public sealed partial class BalloonDevice : VirtioDevice
{
    /// <summary>Most bytes that can be asked for: the target is a 32-bit number of pages.</summary>
    public const ulong TargetBytesMax = uint.MaxValue * BalloonProtocol.PageBytes;

    private const ushort QueueSize = 128;

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
        if (offset < BalloonProtocol.ConfigActual + sizeof(uint)) _statistics?.Renew();
    }

    /// <inheritdoc/>
    protected override void OnDriverGone()
    {
        // The driver's balloon is gone with the driver: it starts from nothing.
        Config.Update(BalloonProtocol.ConfigActual, [0, 0, 0, 0]);
        Config.Update(BalloonProtocol.ConfigPoison, [0, 0, 0, 0]);
    }

    /// <summary>A queue that was not negotiated takes no number: drivers count those they use (as Linux and QEMU do).</summary>
    private QueueWorker OptionalWorker(QueueContext context)
    {
        int next = BalloonProtocol.DeflateQueue + 1;
        if (context.Driver.Has(BalloonProtocol.FeatureStatistics) && context.Index == next++) return new StatisticsWorker(this, context);
        return context.Driver.Has(BalloonProtocol.FeatureReporting) && context.Index == next
            ? new ReportWorker(this, context)
            : new SimpleWorker(context, Refuse);
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
