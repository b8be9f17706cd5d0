namespace Vmm.Devices.Kvm;

/// <summary>Ports and interrupts of a machine's legacy devices, where a PC has them.</summary>
internal static class MachinePorts
{
    internal const ushort Serial = 0x3f8;
    internal const uint SerialGsi = 4;
    internal const ushort KeyboardController = 0x60;
    internal const ushort Clock = 0x70;
    internal const ushort Panic = 0x505;
    internal const ushort AcpiPower = 0x600;

    /// <summary>Interrupts from here up to the last pin belong to virtio devices.</summary>
    internal const uint FirstDeviceGsi = 5;
}
