namespace Vmm.Devices;

/// <summary>
/// What a machine gives to its devices: memory, address spaces, interrupts, and kicks that need no exit. A <see cref="DeviceHost"/> puts
/// devices on a board; the simulated machine and the KVM machine have one each. Members are thread-safe.
/// </summary>
public interface IMachineBoard : IDisposable
{
    /// <summary>The guest's memory. It belongs to the board.</summary>
    GuestMemory Memory { get; }

    /// <summary>Where vCPUs reach memory-mapped registers.</summary>
    Bus Mmio { get; }

    /// <summary>Where vCPUs reach I/O ports.</summary>
    Bus Ports { get; }

    /// <summary>Where virtio devices go.</summary>
    DeviceSlots Slots { get; }

    /// <summary>The interrupt line of a number. The same number gives the same line.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The machine has no such line.</exception>
    IInterrupt Line(int number);

    /// <summary>Interrupts that are messages (MSI); null if the machine has none.</summary>
    IMessageInterrupts? Messages { get; }

    /// <summary>Turns a vCPU's kick into a signal of an eventfd; null if every kick is an exit to the bus.</summary>
    IIoEventFds? Kicks { get; }

    /// <summary>Adds a region to the guest's memory, also while the machine runs.</summary>
    /// <param name="region">Taken over; stays the caller's if this throws.</param>
    /// <exception cref="ArgumentException">It overlaps another region, or is not page-aligned.</exception>
    void Map(GuestRegion region);

    /// <summary>Takes a region out of the guest's memory. It stays mapped in this process while a device still works in it.</summary>
    /// <exception cref="ArgumentException">It is not part of the guest's memory.</exception>
    void Unmap(GuestRegion region);
}

/// <summary>Interrupts that are messages to a processor's local interrupt controller (MSI, MSI-X).</summary>
public interface IMessageInterrupts
{
    /// <summary>An interrupt that sends one message at each <see cref="IInterrupt.Assert"/>. It lives as long as the board.</summary>
    /// <param name="address">The message's address, as the guest programmed it.</param>
    /// <param name="data">The message's data.</param>
    IInterrupt Route(ulong address, uint data);
}

/// <summary>
/// Places for virtio devices: each has <see cref="VirtioMmioTransport.Length"/> bytes of registers and an interrupt line.
/// </summary>
/// <param name="FirstAddress">Guest address of the first device's registers, page-aligned; the others follow.</param>
/// <param name="FirstLine">Interrupt line of the first device; the others follow.</param>
/// <param name="Count">How many there are.</param>
public readonly record struct DeviceSlots(ulong FirstAddress, int FirstLine, int Count)
{
    internal ulong AddressOf(int slot) => FirstAddress + ((ulong)slot * VirtioMmioTransport.Length);

    internal int LineOf(int slot) => FirstLine + slot;
}
