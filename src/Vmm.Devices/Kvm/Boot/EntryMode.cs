namespace Vmm.Devices.Kvm;

/// <summary>The mode a vCPU is put into before its first instruction.</summary>
public enum EntryMode
{
    /// <summary>16-bit, as after reset.</summary>
    Real,
    /// <summary>32-bit, flat segments, no paging: what the PVH boot protocol asks for.</summary>
    Protected,
    /// <summary>64-bit, flat segments, the first 4 GiB mapped to themselves: the 64-bit entry of Linux.</summary>
    Long,
}

/// <summary>Puts vCPUs into a mode and at an address.</summary>
internal static class EntryModeExtensions
{
    private const ulong Cr0ProtectedMode = 1;
    private const ulong Cr0ExtensionType = 1 << 4;
    private const ulong Cr0Paging = 1UL << 31;
    private const ulong Cr4PhysicalAddressExtension = 1 << 5;
    private const ulong EferLongModeEnable = 1 << 8;
    private const ulong EferLongModeActive = 1 << 10;
    private const ulong FlagsReserved = 2;

    /// <summary>
    /// Writes what the mode needs into the first 64 KiB of guest memory, and sets the registers of a vCPU that does not run: with
    /// <c>Rip</c> and, if there is to be a stack, <c>Rsp</c>.
    /// </summary>
    public static void Enter(this KvmVcpu vcpu, EntryMode mode, Span<byte> lowMemory, KvmRegs registers)
    {
        ArgumentNullException.ThrowIfNull(vcpu);
        KvmSregs sregs = vcpu.GetSystemRegisters();
        if (mode == EntryMode.Real)
        {
            sregs.Cs.Base = 0;
            sregs.Cs.Selector = 0;
        }
        else
        {
            bool longMode = mode == EntryMode.Long;
            SegmentTable.Write(lowMemory, longMode);
            SegmentTable.Set(ref sregs, longMode);
            sregs.Cr0 = Cr0ProtectedMode | Cr0ExtensionType;
            sregs.Cr4 = 0;
            sregs.Efer = 0;
            if (longMode)
            {
                PageTables.Write(lowMemory);
                sregs.Cr3 = PageTables.Root;
                sregs.Cr4 = Cr4PhysicalAddressExtension;
                sregs.Efer = EferLongModeEnable | EferLongModeActive;
                sregs.Cr0 |= Cr0Paging;
            }
        }
        vcpu.SetSystemRegisters(sregs);
        registers.Rflags |= FlagsReserved;
        vcpu.SetRegisters(registers);
    }
}
