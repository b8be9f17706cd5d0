namespace Vmm.Devices;

/// <summary>
/// Something the guest's driver did that the specification forbids. Counted, logged once per device and kind; the device then asks for a
/// reset. Never an exception. The texts are constants: a hostile guest makes nothing grow.
/// </summary>
/// <param name="Kind">What kind of thing it was.</param>
/// <param name="Text">A sentence for the log, with the clause of the specification.</param>
public readonly record struct GuestFault(GuestFaultKind Kind, string Text);

/// <summary>The kinds of guest faults, for counters and tests.</summary>
public enum GuestFaultKind
{
    /// <summary>None.</summary>
    None,
    /// <summary>A ring is not where or what it may be: size, alignment, outside memory.</summary>
    RingLayout,
    /// <summary>The available index moved by more than the ring holds.</summary>
    AvailableIndex,
    /// <summary>A descriptor number is beyond the table, or names a chain that is in flight.</summary>
    DescriptorIndex,
    /// <summary>A chain is longer than the queue, loops, or holds more than 2^32 bytes.</summary>
    ChainLength,
    /// <summary>A buffer is not in guest memory.</summary>
    BufferAddress,
    /// <summary>A readable buffer after a writable one, or flags that do not go together.</summary>
    BufferOrder,
    /// <summary>An indirect table of a wrong length, nested, or not negotiated.</summary>
    IndirectTable,
    /// <summary>A request that the device's own protocol forbids.</summary>
    Request,
}
