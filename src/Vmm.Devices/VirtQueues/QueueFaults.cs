namespace Vmm.Devices;

/// <summary>The guest faults a ring can show, with the clause each breaks (virtio 1.2).</summary>
internal static class QueueFaults
{
    internal static readonly GuestFault Size =
        new(GuestFaultKind.RingLayout, "queue size is 0, above the maximum or, for a split ring, not a power of two (§ 2.6)");
    internal static readonly GuestFault Alignment =
        new(GuestFaultKind.RingLayout, "a ring is not aligned as its layout asks (§ 2.7, § 2.8)");
    internal static readonly GuestFault Outside =
        new(GuestFaultKind.RingLayout, "a ring is not in guest memory, or not in one region of it (§ 2.7)");
    internal static readonly GuestFault Overlap = new(GuestFaultKind.RingLayout, "the parts of a ring overlap (§ 2.7)");
    internal static readonly GuestFault Removed =
        new(GuestFaultKind.RingLayout, "the memory under a ring was removed while the queue runs");
    internal static readonly GuestFault Base = new(GuestFaultKind.RingLayout, "the position to start from lies outside of the ring");
    internal static readonly GuestFault Available =
        new(GuestFaultKind.AvailableIndex, "the available index moved by more than the queue size (§ 2.7.13.3)");
    internal static readonly GuestFault Head = new(GuestFaultKind.DescriptorIndex, "a head is beyond the descriptor table (§ 2.7.6)");
    internal static readonly GuestFault Next = new(GuestFaultKind.DescriptorIndex, "the next descriptor is beyond its table (§ 2.7.5)");
    internal static readonly GuestFault InFlight =
        new(GuestFaultKind.DescriptorIndex, "a chain was made available again while it is in flight (§ 2.7.13)");
    internal static readonly GuestFault Length =
        new(GuestFaultKind.ChainLength, "a chain is longer than the queue size, or loops (§ 2.7.5.3.1)");
    internal static readonly GuestFault Bytes = new(GuestFaultKind.ChainLength, "a chain holds more than 2^32 bytes (§ 2.7.5.2)");
    internal static readonly GuestFault Segments =
        new(GuestFaultKind.ChainLength, "the buffers of a chain lie in more pieces of memory than buffers that do not overlap can");
    internal static readonly GuestFault Address = new(GuestFaultKind.BufferAddress, "a buffer is not in guest memory (§ 2.7.5)");
    internal static readonly GuestFault Order =
        new(GuestFaultKind.BufferOrder, "a device-readable buffer follows a device-writable one (§ 2.7.4.2)");
    internal static readonly GuestFault NotNegotiated =
        new(GuestFaultKind.IndirectTable, "an indirect descriptor without VIRTIO_F_INDIRECT_DESC (§ 2.7.5.3.1)");
    internal static readonly GuestFault Nested =
        new(GuestFaultKind.IndirectTable, "an indirect descriptor in an indirect table (§ 2.7.5.3.1)");
    internal static readonly GuestFault IndirectNext =
        new(GuestFaultKind.IndirectTable, "an indirect descriptor with a next one (§ 2.7.5.3.1)");
    internal static readonly GuestFault TableLength =
        new(GuestFaultKind.IndirectTable, "an indirect table whose length is 0, no multiple of 16, or above 65536 entries (§ 2.7.5.3)");
    internal static readonly GuestFault TableAddress =
        new(GuestFaultKind.IndirectTable, "an indirect table that is not in one region of guest memory (§ 2.7.5.3)");
}
