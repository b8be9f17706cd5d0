namespace Vmm.Devices.Kvm;

/// <summary>What a kernel is given beside its command line, by each boot protocol. An initrd of no bytes is none.</summary>
internal readonly record struct BootHandover(IReadOnlyList<E820Entry> Map, ulong InitrdAddress, ulong InitrdLength)
{
    /// <summary>Guest-physical address of the ACPI root pointer; 0 if there is none.</summary>
    internal ulong AcpiRoot { get; init; }
}
