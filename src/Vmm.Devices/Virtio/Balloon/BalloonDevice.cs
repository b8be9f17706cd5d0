using System.Buffers.Binary;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// A memory balloon (virtio 1.2 § 5.5): the host asks for memory by a target, the guest gives pages up, and these go back to the host for real. With
/// free page reporting the guest also tells of pages it happens not to use.
/// </summary>
public sealed partial class BalloonDevice : VirtioDevice
{
    /// <summary>Most bytes that can be asked for: the target is a 32-bit number of pages.</summary>
    public const ulong TargetBytesMax = uint.MaxValue * BalloonProtocol.PageBytes;

    private const ushort QueueSize = 128;

    private readonly Lock _targetLock = new();
    private IVirtioInterrupt? _interrupt;
    private int _statisticsQueue;
    private int _reportingQueue;
    private long _returnedBytes;

    /// <summary>Makes an empty balloon.</summary>
    /// <param name="name">For messages and measurements: <c>balloon0</c>.</param>
    public BalloonDevice(string name) : base(VirtioDeviceType.Balloon, name, BalloonProtocol.ConfigLength)
    {
        Config.AllowWrites(BalloonProtocol.ConfigActual, sizeof(uint));
        Config.AllowWrites(BalloonProtocol.ConfigPoison, sizeof(uint));
        AddQueue("inflate", QueueSize, Inflate);
        AddQueue("deflate", QueueSize, Deflate);
        // Which of these two a queue is depends on the features the driver takes: see OnActivate.
        AddQueue("statistics-or-reporting", QueueSize, ServeOptional);
        AddQueue("reporting", QueueSize, ServeOptional);
    }

    /// <inheritdoc/>
    public override ulong Features => BalloonProtocol.FeatureStatistics | BalloonProtocol.FeatureDeflateOnOom
        | BalloonProtocol.FeaturePagePoison | BalloonProtocol.FeatureReporting;

    /// <summary>
    /// Bytes the host wants the guest to give up, in whole pages of 4096, at most <see cref="TargetBytesMax"/>. Any thread. The guest gets there when it can; see
    /// <see cref="ActualBytes"/>.
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
            lock (_targetLock)
            {
                Config.Update(BalloonProtocol.ConfigTarget, config);
                _interrupt?.SignalConfig();
            }
        }
    }

    /// <summary>Bytes the guest says it has given up. Any thread.</summary>
    public ulong ActualBytes => ReadConfig(BalloonProtocol.ConfigActual) * BalloonProtocol.PageBytes;

    /// <summary>Bytes of the pages that went back to the host so far, by the balloon and by reports. Any thread.</summary>
    public long ReturnedBytes => Volatile.Read(ref _returnedBytes);

    /// <inheritdoc/>
    protected override void OnActivate(DeviceActivation activation)
    {
        ArgumentNullException.ThrowIfNull(activation);
        bool hasStatistics = (activation.Features & BalloonProtocol.FeatureStatistics) != 0;
        bool hasReporting = (activation.Features & BalloonProtocol.FeatureReporting) != 0;
        // A queue that was not negotiated takes no number: drivers count those they use (as Linux and QEMU do).
        int next = BalloonProtocol.DeflateQueue + 1;
        _statisticsQueue = hasStatistics ? next++ : -1;
        _reportingQueue = hasReporting ? next : -1;
        StartStatistics(activation);
        // A target that was set before is in the configuration the driver is about to read.
        lock (_targetLock) _interrupt = activation.Interrupt;
    }

    /// <inheritdoc/>
    protected override void OnQueueStopping(VirtQueue queue)
    {
        ArgumentNullException.ThrowIfNull(queue);
        if (queue.Index == BalloonProtocol.InflateQueue) StopPages(queue);
        if (queue.Index == _statisticsQueue) StopStatistics(queue);
    }

    /// <inheritdoc/>
    protected override void OnConfigWritten(int offset, int length)
    {
        if (offset < BalloonProtocol.ConfigActual + sizeof(uint)) RenewStatistics();
    }

    /// <inheritdoc/>
    protected override void OnReset()
    {
        lock (_targetLock) _interrupt = null;
        ForgetStatistics();
        // The driver's balloon is gone with the driver: it starts from nothing.
        Config.Update(BalloonProtocol.ConfigActual, [0, 0, 0, 0]);
        Config.Update(BalloonProtocol.ConfigPoison, [0, 0, 0, 0]);
    }

    private void ServeOptional(VirtQueue queue)
    {
        if (queue.Index == _statisticsQueue) TakeStatistics(queue);
        else if (queue.Index == _reportingQueue) TakeReports(queue);
        else Refuse(queue);
    }

    private static void Refuse(VirtQueue queue)
    {
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
