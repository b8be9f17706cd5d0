namespace Vmm.Devices.Kvm;

/// <summary>Ports and interrupts of a machine's legacy devices, where a PC has them.</summary>
internal static class MachinePorts
{
    internal const ushort Serial = 0x3f8;
    internal const uint SerialGsi = 4;
    internal const ushort KeyboardController = 0x60;
    internal const ushort Clock = 0x70;
    /// <summary>A PC's clock has 8, which belongs to a virtio device here: ACPI says where it is.</summary>
    internal const uint ClockGsi = 3;
    /// <summary>
    /// Of the device that reports events of the machine itself (ACPI § 5.6.9). A PC's keyboard has it, which is not there; Linux takes
    /// neither 0 nor 2 from a table.
    /// </summary>
    internal const uint EventGsi = 1;
    internal const ushort Panic = 0x505;
    internal const ushort AcpiPower = 0x600;
    internal const ushort Events = 0x608;

    /// <summary>Where Linux looks for what this machine does not have.</summary>
    internal static readonly (ushort Port, ulong Length, string What)[] Absent =
    [
        (0x2e, 2, "Super I/O"),
        (0x4e, 2, "Super I/O"),
        (0x80, 16, "diagnostic port and DMA page registers"),
        (0x2e8, 8, "serial port ttyS3"),
        (0x2f8, 8, "serial port ttyS1"),
        (0x3e8, 8, "serial port ttyS2"),
        (0xcf8, 8, "PCI configuration space"),
    ];

    /// <summary>Interrupts from here up to the last pin belong to virtio devices.</summary>
    internal const uint FirstDeviceGsi = 5;
}
