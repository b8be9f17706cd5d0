namespace Vmm.Devices.Kvm;

/// <summary>
/// Where things are in a machine's address space. Low memory holds what the kernel is handed; below 4 GiB a hole leaves room for devices
/// and the interrupt controllers; memory that does not fit below the hole goes on at 4 GiB.
/// </summary>
internal static class BootLayout
{
    internal const ulong Page = 4096;

    /// <summary>struct hvm_start_info and what it points to (PVH).</summary>
    internal const ulong PvhStartInfo = 0x6000;

    /// <summary>struct boot_params, the "zero page".</summary>
    internal const ulong ZeroPage = 0x7000;

    internal const ulong CommandLine = 0x2_0000;

    /// <summary>Bytes of the command line with its closing zero; Linux takes 2048 on x86.</summary>
    internal const int CommandLineMax = 2048;

    /// <summary>End of the memory below 640 KiB that a kernel may use.</summary>
    internal const ulong LowMemoryEnd = 0x9_fc00;

    /// <summary>ACPI tables: where a kernel looks for them without a hint (ACPI § 5.2.5.1).</summary>
    internal const ulong AcpiTables = 0xe_0000;
    internal const int AcpiTablesMax = 0x1_0000;

    /// <summary>Which run of the machine this is: 16 random bytes. Each restore of a snapshot makes new ones.</summary>
    internal const ulong GenerationId = 0xf_0000;
    internal const int GenerationIdBytes = 16;

    internal const ulong HighMemory = 0x10_0000;

    /// <summary>First byte of the hole, and so the end of memory below 4 GiB.</summary>
    internal const ulong Hole = 0xc000_0000;
    internal const ulong Devices = 0xd000_0000;
    internal const ulong IoApic = 0xfec0_0000;
    internal const ulong LocalApic = 0xfee0_0000;
    internal const ulong HoleEnd = 1UL << 32;

    /// <summary>Makes memory for a machine.</summary>
    /// <param name="bytes">Whole MiB, and whole pages.</param>
    /// <param name="pages">What it is made of.</param>
    /// <exception cref="Vmm.Events.KernelException">The host has not enough memory, or huge pages.</exception>
    internal static GuestMemory CreateMemory(ulong bytes, PageSize pages = PageSize.Standard)
    {
        GuestMemory memory = new();
        try
        {
            foreach (RegionLayout layout in RegionsOf(bytes))
            {
                if (!memory.TryAdd(GuestRegion.Create(layout.GuestAddress, layout.Length, pages), out string? refusal))
                    throw new InvalidOperationException(refusal);
            }
            return memory;
        }
        catch
        {
            memory.Dispose();
            throw;
        }
    }

    /// <summary>The regions of a machine's memory, in the order in which a file holds them.</summary>
    internal static RegionLayout[] RegionsOf(ulong bytes) =>
        bytes <= Hole ? [new(0, bytes)] : [new(0, Hole), new(HoleEnd, bytes - Hole, Hole)];
}
