using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vmm.Devices.Native;

// Structures of asm/kvm.h that describe a vCPU. Sizes and offsets are compared with the C compiler's in the ABI tests.

/// <summary>struct kvm_regs.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmRegs
{
    internal ulong Rax, Rbx, Rcx, Rdx, Rsi, Rdi, Rsp, Rbp, R8, R9, R10, R11, R12, R13, R14, R15, Rip, Rflags;
}

/// <summary>struct kvm_segment.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmSegment
{
    internal ulong Base;
    internal uint Limit;
    internal ushort Selector;
    internal byte Type;
    internal byte Present, PrivilegeLevel, DefaultBig, CodeOrData, Long, Granularity, Available;
    internal byte Unusable;
    internal byte Padding;
}

/// <summary>struct kvm_dtable.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmDescriptorTable
{
    internal ulong Base;
    internal ushort Limit;
    internal ushort Padding0, Padding1, Padding2;
}

/// <summary>struct kvm_sregs.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmSregs
{
    internal KvmSegment Cs, Ds, Es, Fs, Gs, Ss;
    internal KvmSegment Tr, Ldt;
    internal KvmDescriptorTable Gdt, Idt;
    internal ulong Cr0, Cr2, Cr3, Cr4, Cr8;
    internal ulong Efer;
    internal ulong ApicBase;
    internal ulong Interrupts0, Interrupts1, Interrupts2, Interrupts3;
}

/// <summary>The head of struct kvm_msrs and struct kvm_msr_list's first word with padding; entries follow.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmCountHead
{
    internal uint Count;
    internal uint Padding;
}

/// <summary>struct kvm_msr_entry.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmMsrEntry
{
    internal uint Index;
    internal uint Reserved;
    internal ulong Data;
}

/// <summary>struct kvm_cpuid_entry2.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmCpuidEntry
{
    /// <summary>The sub-leaf in ECX counts for this leaf.</summary>
    internal const uint SignificantIndex = 1;

    internal uint Function;
    internal uint Index;
    internal uint Flags;
    internal uint Eax;
    internal uint Ebx;
    internal uint Ecx;
    internal uint Edx;
    internal uint Padding0, Padding1, Padding2;
}

/// <summary>struct kvm_signal_mask with its 64-bit set.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 4)]
internal struct KvmSignalMask
{
    internal uint Length;
    internal ulong Set;
}

/// <summary>struct kvm_mp_state.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmMpState
{
    internal const uint Runnable = 0;
    internal const uint Uninitialized = 1;
    internal const uint Halted = 3;

    internal uint State;
}

/// <summary>struct kvm_lapic_state: the registers of the local interrupt controller.</summary>
[InlineArray(1024)]
internal struct KvmLapicState
{
    private byte _first;
}

/// <summary>struct kvm_xsave, as bytes.</summary>
[InlineArray(4096)]
internal struct KvmXsave
{
    private byte _first;
}

/// <summary>struct kvm_xcrs, as bytes.</summary>
[InlineArray(392)]
internal struct KvmXcrs
{
    private byte _first;
}

/// <summary>
/// struct kvm_vcpu_events, as bytes: kept and given back. Only its first 8 are looked into, for messages: injected, number, has an error
/// code, pending;
/// then the error code.
/// </summary>
[InlineArray(64)]
internal struct KvmVcpuEvents
{
    private byte _first;
}

/// <summary>struct kvm_debugregs, as bytes.</summary>
[InlineArray(128)]
internal struct KvmDebugRegs
{
    private byte _first;
}
