using Vmm.Devices.Native;

namespace Vmm.Devices.Kvm;

/// <summary>Everything a vCPU is, between two runs.</summary>
internal sealed class KvmVcpuState
{
    internal required KvmMpState MpState { get; init; }
    internal required KvmRegs Registers { get; init; }
    internal required KvmSregs SystemRegisters { get; init; }
    internal required KvmXsave Xsave { get; set; }
    internal required KvmXcrs Xcrs { get; init; }
    internal required KvmDebugRegs DebugRegisters { get; init; }
    internal required KvmMsrEntry[] Msrs { get; init; }
    internal required KvmVcpuEvents Events { get; init; }

    /// <summary>Null if the VM has no interrupt controllers in the kernel.</summary>
    internal KvmLapicState? Lapic { get; init; }
}
