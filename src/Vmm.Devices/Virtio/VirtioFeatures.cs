namespace Vmm.Devices;

/// <summary>Feature bits that belong to no device type (virtio 1.2 § 6), as masks.</summary>
public static class VirtioFeatures
{
    /// <summary>Lowest bit that does not belong to the device type.</summary>
    public const int FirstCommonBit = 24;

    /// <summary>Buffers may be described by a table elsewhere (VIRTIO_F_INDIRECT_DESC).</summary>
    public const ulong IndirectDescriptors = 1UL << 28;
    /// <summary>Each side says from which entry on it wants to be notified (VIRTIO_F_EVENT_IDX).</summary>
    public const ulong EventIndex = 1UL << 29;
    /// <summary>The device follows virtio 1.0 or later (VIRTIO_F_VERSION_1).</summary>
    public const ulong Version1 = 1UL << 32;
    /// <summary>The packed ring layout (VIRTIO_F_RING_PACKED).</summary>
    public const ulong PackedRing = 1UL << 34;
    /// <summary>The device uses buffers in the order it got them (VIRTIO_F_IN_ORDER).</summary>
    public const ulong InOrder = 1UL << 35;
    /// <summary>A kick says how far the driver got (VIRTIO_F_NOTIFICATION_DATA).</summary>
    public const ulong NotificationData = 1UL << 38;
    /// <summary>One queue can be reset alone (VIRTIO_F_RING_RESET).</summary>
    public const ulong RingReset = 1UL << 40;
}
