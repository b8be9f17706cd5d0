namespace Vmm.Devices.Kvm;

// Structures of asm/kvm.h, field for field. Sizes and offsets are compared with the C compiler's in the ABI tests.

/// <summary>The general registers of a vCPU (struct kvm_regs).</summary>
[StructLayout(LayoutKind.Sequential)]
public struct KvmRegs
{
    /// <summary>A register of the processor, under its own name.</summary>
    public ulong Rax, Rbx, Rcx, Rdx, Rsi, Rdi, Rsp, Rbp, R8, R9, R10, R11, R12, R13, R14, R15, Rip, Rflags;
}

/// <summary>A segment register with what the processor keeps of its descriptor (struct kvm_segment).</summary>
[StructLayout(LayoutKind.Sequential)]
public struct KvmSegment
{
    /// <summary>Linear address of its first byte.</summary>
    public ulong Base;

    /// <summary>Its last byte's offset.</summary>
    public uint Limit;

    /// <summary>What the guest sees in the register.</summary>
    public ushort Selector;

    /// <summary>The descriptor's type, 4 bits.</summary>
    public byte Type;

    /// <summary>A bit of the descriptor, or its privilege level: P, DPL, D/B, S, L, G and AVL (Intel SDM, volume 3, § 3.4.5).</summary>
    public byte Present, PrivilegeLevel, DefaultBig, CodeOrData, Long, Granularity, Available;

    /// <summary>1 for a register that holds nothing.</summary>
    public byte Unusable;

    internal byte Padding;
}

/// <summary>The register of a descriptor table (struct kvm_dtable).</summary>
[StructLayout(LayoutKind.Sequential)]
public struct KvmDescriptorTable
{
    /// <summary>Linear address of the table.</summary>
    public ulong Base;

    /// <summary>Its last byte's offset.</summary>
    public ushort Limit;

    internal ushort Padding0, Padding1, Padding2;
}

/// <summary>The system registers of a vCPU (struct kvm_sregs).</summary>
[StructLayout(LayoutKind.Sequential)]
public struct KvmSregs
{
    /// <summary>A segment register.</summary>
    public KvmSegment Cs, Ds, Es, Fs, Gs, Ss;

    /// <summary>The task register and the one of the local descriptor table.</summary>
    public KvmSegment Tr, Ldt;

    /// <summary>The tables of segments and of interrupt gates.</summary>
    public KvmDescriptorTable Gdt, Idt;

    /// <summary>A control register.</summary>
    public ulong Cr0, Cr2, Cr3, Cr4, Cr8;

    /// <summary>The extended features that are on: long mode, no-execute, system calls.</summary>
    public ulong Efer;

    /// <summary>Where the local APIC's registers are, and whether it is on.</summary>
    public ulong ApicBase;

    internal ulong Interrupts0, Interrupts1, Interrupts2, Interrupts3;
}

/// <summary>A model-specific register and its value (struct kvm_msr_entry).</summary>
[StructLayout(LayoutKind.Sequential)]
public struct KvmMsrEntry
{
    /// <summary>Its number.</summary>
    public uint Index;

    internal uint Reserved;

    /// <summary>Its value.</summary>
    public ulong Data;
}

/// <summary>What a guest's processor answers to CPUID for a leaf (struct kvm_cpuid_entry2).</summary>
[StructLayout(LayoutKind.Sequential)]
public struct KvmCpuidEntry
{
    /// <summary>In <see cref="Flags"/>: the sub-leaf in ECX counts for this leaf.</summary>
    public const uint SignificantIndex = 1;

    /// <summary>The leaf, which a guest gives in EAX, and the sub-leaf, which it gives in ECX.</summary>
    public uint Function, Index;

    /// <summary><see cref="SignificantIndex"/>, or nothing.</summary>
    public uint Flags;

    /// <summary>The answer.</summary>
    public uint Eax, Ebx, Ecx, Edx;

    internal uint Padding0, Padding1, Padding2;
}
