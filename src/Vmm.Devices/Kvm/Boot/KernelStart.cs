namespace Vmm.Devices.Kvm;

/// <summary>
/// How the first vCPU starts a kernel that was loaded. It is a class, because the compiler makes code of its own for each structure that a
/// task returns.
/// </summary>
/// <param name="Mode">The processor's mode.</param>
/// <param name="Registers">Its registers.</param>
public sealed record KernelStart(EntryMode Mode, KvmRegs Registers)
{
    /// <summary>Has a vCPU start the kernel when it runs. It writes tables that the mode needs below 64 KiB of guest memory.</summary>
    /// <param name="vcpu">The first vCPU. It does not run.</param>
    /// <param name="memory">Where the kernel was loaded.</param>
    public void Enter(KvmVcpu vcpu, GuestMemory memory)
    {
        ArgumentNullException.ThrowIfNull(vcpu);
        ArgumentNullException.ThrowIfNull(memory);
        if (!memory.TryGetSpan(0, (uint)BootLayout.HighMemory, out Span<byte> low))
            throw new ArgumentException("there is less than 1 MiB of memory at guest address 0", nameof(memory));
        vcpu.Enter(Mode, low, Registers);
    }
}
