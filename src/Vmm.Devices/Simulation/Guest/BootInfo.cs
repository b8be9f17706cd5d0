namespace Vmm.Devices.Simulation;

/// <summary>Where a device's registers are, and the interrupt vector it raises on CPU 0.</summary>
internal readonly record struct DeviceNode(ulong Base, int Vector);

/// <summary>What a machine gives its guest at boot, in the place of a device tree.</summary>
internal sealed record BootInfo
{
    /// <summary>Bytes of memory, from guest address 0.</summary>
    internal required ulong MemoryBytes { get; init; }

    /// <summary>The virtio-mmio devices.</summary>
    internal required IReadOnlyList<DeviceNode> Devices { get; init; }

    /// <summary>First port of the serial console.</summary>
    internal required ushort ConsolePort { get; init; }

    /// <summary>The vector its interrupt raises on CPU 0.</summary>
    internal required int ConsoleVector { get; init; }

    /// <summary>The port that ends the machine; what is written is its status.</summary>
    internal required ushort PowerPort { get; init; }

    /// <summary>Where the guest says how far it is.</summary>
    internal required ushort PhasePort { get; init; }

    /// <summary>Whether a person types on the console: echo, prompt, line editing.</summary>
    internal bool Interactive { get; init; }

    /// <summary>How wide the console's terminal is now; 0 if that is not known.</summary>
    internal Func<int> Columns { get; init; } = () => 0;

    /// <summary>Whether commands that take long say on the console how far they are.</summary>
    internal bool ShowProgress { get; init; }
}
