namespace Vmm.Devices.Kvm;

/// <summary>
/// What a monitor of one's own makes a Linux machine of, beside <see cref="BootSource.Load"/> and <see cref="KernelStart.Enter"/>:
/// <see cref="KvmBoard"/> and <see cref="KvmMachine"/> put the same together.
/// </summary>
public static class LinuxBoot
{
    /// <summary>Memory as a PC has it: from address 0, and what is more than 3 GiB from 4 GiB on.</summary>
    /// <param name="bytes">Whole MiB, and whole pages.</param>
    /// <param name="pages">What it is made of.</param>
    /// <exception cref="Vmm.Events.KernelException">The host has not enough memory, or huge pages.</exception>
    public static GuestMemory CreateMemory(ulong bytes, PageSize pages = PageSize.Standard) => BootLayout.CreateMemory(bytes, pages);

    /// <summary>
    /// Gives a vCPU what firmware leaves to a kernel: the CPUID of a processor in a machine of so many, model-specific registers, the pins
    /// of its local APIC.
    /// </summary>
    /// <param name="vcpu">A vCPU that has not run, of a VM with interrupt controllers in the kernel.</param>
    /// <param name="vcpus">vCPUs of the machine.</param>
    public static void PrepareVcpu(KvmVcpu vcpu, int vcpus)
    {
        ArgumentNullException.ThrowIfNull(vcpu);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(vcpus);
        vcpu.SetCpuid(GuestCpuid.For(vcpu.System, vcpu.Index, vcpus));
        BootMsrs.Set(vcpu);
    }
}
