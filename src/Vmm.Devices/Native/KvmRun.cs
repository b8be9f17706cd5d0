namespace Vmm.Devices.Native;

/// <summary>The head of the area that the kernel shares for each vCPU (struct kvm_run): the fields this library uses.</summary>
[StructLayout(LayoutKind.Explicit)]
internal struct KvmRun
{
    [FieldOffset(1)] internal byte ImmediateExit;
    [FieldOffset(8)] internal KvmExitReason ExitReason;
    [FieldOffset(32)] internal ulong HardwareReason;
    [FieldOffset(32)] internal KvmRunIo Io;
    [FieldOffset(32)] internal KvmRunMmio Mmio;
    [FieldOffset(32)] internal KvmRunHypercall Hypercall;
    [FieldOffset(32)] internal KvmRunInternalError InternalError;
    [FieldOffset(32)] internal KvmRunSystemEvent SystemEvent;
    [FieldOffset(32)] internal KvmRunMsr Msr;
}

/// <summary>KVM_EXIT_IO: <see cref="Count"/> accesses to one port; their bytes are in the area at <see cref="DataOffset"/>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmRunIo
{
    internal byte Direction;
    internal byte Size;
    internal ushort Port;
    internal uint Count;
    internal ulong DataOffset;
}

/// <summary>KVM_EXIT_MMIO: one access of 1 to 8 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmRunMmio
{
    internal ulong Address;
    internal ulong Data;
    internal uint Length;
    internal byte IsWrite;
}

/// <summary>KVM_EXIT_HYPERCALL.</summary>
[StructLayout(LayoutKind.Explicit)]
internal struct KvmRunHypercall
{
    [FieldOffset(0)] internal ulong Number;
    [FieldOffset(56)] internal ulong Result;
}

/// <summary>KVM_EXIT_INTERNAL_ERROR.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmRunInternalError
{
    internal uint SubError;
    internal uint DataCount;
}

/// <summary>KVM_EXIT_SYSTEM_EVENT.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmRunSystemEvent
{
    internal uint Type;
    internal uint DataCount;
}

/// <summary>KVM_EXIT_X86_RDMSR and KVM_EXIT_X86_WRMSR.</summary>
[StructLayout(LayoutKind.Explicit)]
internal struct KvmRunMsr
{
    [FieldOffset(0)] internal byte Error;
    [FieldOffset(12)] internal uint Index;
    [FieldOffset(16)] internal ulong Data;
}
