namespace Vmm.Devices.Native;

// Structures of asm/kvm.h that describe a vCPU; those that a monitor uses are beside KvmVcpu.
// Sizes and offsets are compared with the C compiler's in the ABI tests.

/// <summary>The head of struct kvm_msrs and struct kvm_msr_list's first word with padding; entries follow.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmCountHead
{
    internal uint Count;
    internal uint Padding;
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
