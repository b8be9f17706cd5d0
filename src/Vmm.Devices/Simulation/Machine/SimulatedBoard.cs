namespace Vmm.Devices.Simulation;

/// <summary>
/// The board of a simulated machine: memory from guest address 0, an interrupt controller, and kicks that are signals of eventfds.
/// </summary>
public sealed class SimulatedBoard : IMachineBoard
{
    /// <summary>Guest memory of a board of which nothing else is said: 256 MiB.</summary>
    public const ulong MemoryBytesStandard = 256UL << 20;

    /// <summary>Most virtio devices of a board with the standard places: each has an interrupt line of its own.</summary>
    public const int DevicesMax = SimulatedMachine.InterruptsMax - FirstLine;

    private const int FirstLine = 8;

    private readonly SimulatedIoEventFds _kicks = new();

    /// <summary>Makes a board.</summary>
    /// <param name="memoryBytes">Bytes of guest memory, a multiple of 4096.</param>
    /// <exception cref="Vmm.Events.KernelException">The host has not enough memory or descriptors.</exception>
    public SimulatedBoard(ulong memoryBytes = MemoryBytesStandard) => Memory = GuestMemory.Create(memoryBytes);

    /// <inheritdoc/>
    public GuestMemory Memory { get; }

    /// <inheritdoc/>
    public Bus Mmio { get; } = new("mmio");

    /// <inheritdoc/>
    public Bus Ports { get; } = new("port");

    /// <summary>Where virtio devices go: by default above any memory, on lines 8 to 63.</summary>
    public DeviceSlots Slots { get; init; } = new(1UL << 40, FirstLine, DevicesMax);

    /// <summary>None: the simulated guest's devices interrupt by lines.</summary>
    public IMessageInterrupts? Messages => null;

    /// <inheritdoc/>
    public IIoEventFds Kicks => _kicks;

    /// <summary>Kicks that went from a vCPU straight into an eventfd. Any thread.</summary>
    public long DirectKicks => _kicks.Signals;

    internal SimulatedInterrupts Interrupts { get; } = new(SimulatedMachineOptions.VcpusMax);

    internal SimulatedIoEventFds IoEventFds => _kicks;

    /// <inheritdoc/>
    public IInterrupt Line(int number) => Interrupts.Line(number);

    /// <inheritdoc/>
    public void Map(GuestRegion region)
    {
        if (!Memory.TryAdd(region, out string? refusal)) throw new ArgumentException(refusal, nameof(region));
    }

    /// <inheritdoc/>
    public void Unmap(GuestRegion region)
    {
        ArgumentNullException.ThrowIfNull(region);
        if (!Memory.Regions.Contains(region) || !Memory.Remove(region.GuestAddress))
            throw new ArgumentException($"no memory region of this machine starts at 0x{region.GuestAddress:x}", nameof(region));
    }

    /// <summary>Gives the memory back.</summary>
    public void Dispose() => Memory.Dispose();
}
