namespace Vmm.Devices.Kvm;

/// <summary>
/// Everything a vCPU is, between two runs: registers, extended state, local APIC, pending events. CPUID is not part of it.
/// </summary>
public sealed class KvmVcpuState
{
    internal KvmVcpuState()
    {
    }

    /// <summary>Writes it into a record, from which <see cref="Read"/> makes it anew.</summary>
    public void WriteTo(StateWriter record)
    {
        ArgumentNullException.ThrowIfNull(record);
        KvmVcpuRecord.Write(record, this);
    }

    /// <summary>Reads what <see cref="WriteTo"/> wrote.</summary>
    /// <exception cref="StateException">Something is missing or has another size.</exception>
    public static KvmVcpuState Read(StateReader record)
    {
        ArgumentNullException.ThrowIfNull(record);
        return KvmVcpuRecord.Read(record);
    }

    internal KvmMpState MpState { get; init; }
    internal KvmRegs Registers { get; init; }
    internal KvmSregs SystemRegisters { get; init; }

    /// <summary>The processor's own image of its extended state; more than 4096 bytes where the guest has large registers.</summary>
    internal byte[] Xsave { get; init; } = [];
    internal KvmXcrs Xcrs { get; init; }
    internal KvmDebugRegs DebugRegisters { get; init; }
    internal KvmMsrEntry[] Msrs { get; set; } = [];
    internal KvmVcpuEvents Events { get; init; }

    /// <summary>Null if the VM has no interrupt controllers in the kernel.</summary>
    internal KvmLapicState? Lapic { get; init; }

    /// <summary>What a guest that is a hypervisor itself has in the processor; null if the host's KVM does not give it.</summary>
    internal byte[]? Nested { get; init; }
}
