namespace Vmm.Devices.Kvm;

/// <summary>
/// All the firmware there is: what runs when a kernel resets by jumping to where a PC's BIOS begins. Linux does so on a hardware-reduced
/// machine without EFI, unless its command line says <c>reboot=</c>.
/// </summary>
internal static class ResetVector
{
    /// <summary>F000:FFF0, in real mode.</summary>
    internal const ulong Address = 0xf_fff0;

    private const ushort ResetPort = MachinePorts.AcpiPower + AcpiPowerControl.ResetOffset;

    /// <summary>mov al, ResetValue; mov dx, ResetPort; out dx, al; then hlt for ever.</summary>
    internal static ReadOnlySpan<byte> Code =>
        [0xb0, AcpiPowerControl.ResetValue, 0xba, ResetPort & 0xff, ResetPort >> 8, 0xee, 0xf4, 0xeb, 0xfd];
}
