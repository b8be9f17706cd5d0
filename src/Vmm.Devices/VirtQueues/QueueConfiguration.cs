namespace Vmm.Devices;

/// <summary>What a driver configured of a queue, and what its transport adds.</summary>
public sealed record QueueConfiguration
{
    /// <summary>The queue's number in its device.</summary>
    public required int Index { get; init; }

    /// <summary>For messages and measurements.</summary>
    public string Name { get; init; } = "";

    /// <summary>Entries of the ring.</summary>
    public required ushort Size { get; init; }

    /// <summary>Most entries the device allows.</summary>
    public ushort SizeMax { get; init; } = VirtQueue.SizeLimit;

    /// <summary>Guest address of the descriptor table (split) or ring (packed).</summary>
    public required ulong DescriptorTable { get; init; }

    /// <summary>Guest address of the driver area: available ring (split) or driver event suppression (packed).</summary>
    public required ulong DriverRing { get; init; }

    /// <summary>Guest address of the device area: used ring (split) or device event suppression (packed).</summary>
    public required ulong DeviceRing { get; init; }

    /// <summary>The negotiated feature bits: <see cref="VirtioFeatures"/>.</summary>
    public ulong Features { get; init; }

    /// <summary>
    /// Where the queue goes on taking chains; null for a fresh ring. Split: the available index. Packed: the ring position in bits 0 to 14,
    /// the wrap counter in bit 15. As vhost-user has it in VHOST_USER_SET_VRING_BASE.
    /// </summary>
    public ushort? AvailBase { get; init; }

    /// <summary>
    /// Where the queue goes on giving chains back, in the same form; null: nothing is in flight, so where it goes on taking them.
    /// </summary>
    public ushort? UsedBase { get; init; }

    /// <summary>Whether the time from pop to publish of each chain goes into the latency histogram.</summary>
    public bool MeasureLatency { get; init; }

    /// <summary>How many kinds of requests there are, whose latencies are kept apart.</summary>
    internal int Kinds { get; init; } = 1;

    /// <summary>Gets requests that took too long; null for none. Only where latency is measured.</summary>
    internal SlowRequests? Slow { get; init; }

    /// <summary>
    /// Called for each guest fault, on the queue's thread; asks for a reset. usually <see cref="VirtioDevice.ReportGuestFault"/>. Null:
    /// the queue itself asks the driver for a reset, once.
    /// </summary>
    public Action<GuestFault>? OnFault { get; init; }

    /// <summary>Where the queue counts; null for counters of its own. Given so that the counts of a device survive its resets.</summary>
    public QueueStatistics? Statistics { get; init; }

    /// <summary>
    /// Where the queue notes what it has taken, and finds what another process had taken before: that it gives first, and
    /// <see cref="AvailBase"/> counts it. Null: nowhere.
    /// </summary>
    internal IQueueJournal? Journal { get; init; }

    internal bool Has(ulong feature) => (Features & feature) != 0;
}
