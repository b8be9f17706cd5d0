using Vmm.Devices.Native;

namespace Vmm.Devices.Kvm;

/// <summary>Everything a vCPU is, between two runs.</summary>
internal sealed class KvmVcpuState
{
    internal required KvmMpState MpState { get; init; }
    internal required KvmRegs Registers { get; init; }
    internal required KvmSregs SystemRegisters { get; init; }

    /// <summary>The processor's own image of its extended state; more than 4096 bytes where the guest has large registers.</summary>
    internal required byte[] Xsave { get; init; }
    internal required KvmXcrs Xcrs { get; init; }
    internal required KvmDebugRegs DebugRegisters { get; init; }
    internal required KvmMsrEntry[] Msrs { get; set; }
    internal required KvmVcpuEvents Events { get; init; }

    /// <summary>Null if the VM has no interrupt controllers in the kernel.</summary>
    internal KvmLapicState? Lapic { get; init; }

    /// <summary>What a guest that is a hypervisor itself has in the processor; null if the host's KVM does not give it.</summary>
    internal byte[]? Nested { get; init; }
}
