namespace Vmm.Devices.Native;

/// <summary>
/// Request numbers of the ioctls on /dev/kvm, a VM and a vCPU (linux/kvm.h, x86-64). The size of the argument is part of each number.
/// </summary>
internal static class KvmRequest
{
    // On /dev/kvm.
    internal const uint KVM_GET_API_VERSION = 0xae00;
    internal const uint KVM_CREATE_VM = 0xae01;
    internal const uint KVM_GET_MSR_INDEX_LIST = 0xc004ae02;
    internal const uint KVM_CHECK_EXTENSION = 0xae03;
    internal const uint KVM_GET_VCPU_MMAP_SIZE = 0xae04;
    internal const uint KVM_GET_SUPPORTED_CPUID = 0xc008ae05;

    // On a VM.
    internal const uint KVM_CREATE_VCPU = 0xae41;
    internal const uint KVM_GET_DIRTY_LOG = 0x4010ae42;
    internal const uint KVM_SET_USER_MEMORY_REGION = 0x4020ae46;
    internal const uint KVM_SET_TSS_ADDR = 0xae47;
    internal const uint KVM_SET_IDENTITY_MAP_ADDR = 0x4008ae48;
    internal const uint KVM_CREATE_IRQCHIP = 0xae60;
    internal const uint KVM_IRQ_LINE = 0x4008ae61;
    internal const uint KVM_GET_IRQCHIP = 0xc208ae62;
    internal const uint KVM_SET_IRQCHIP = 0x8208ae63;
    internal const uint KVM_SET_GSI_ROUTING = 0x4008ae6a;
    internal const uint KVM_IRQFD = 0x4020ae76;
    internal const uint KVM_CREATE_PIT2 = 0x4040ae77;
    internal const uint KVM_IOEVENTFD = 0x4040ae79;
    internal const uint KVM_SET_CLOCK = 0x4030ae7b;
    internal const uint KVM_GET_CLOCK = 0x8030ae7c;
    internal const uint KVM_GET_PIT2 = 0x8070ae9f;
    internal const uint KVM_SET_PIT2 = 0x4070aea0;
    internal const uint KVM_ENABLE_CAP = 0x4068aea3;
    internal const uint KVM_SIGNAL_MSI = 0x4020aea5;

    // On a vCPU.
    internal const uint KVM_RUN = 0xae80;
    internal const uint KVM_GET_REGS = 0x8090ae81;
    internal const uint KVM_SET_REGS = 0x4090ae82;
    internal const uint KVM_GET_SREGS = 0x8138ae83;
    internal const uint KVM_SET_SREGS = 0x4138ae84;
    internal const uint KVM_GET_MSRS = 0xc008ae88;
    internal const uint KVM_SET_MSRS = 0x4008ae89;
    internal const uint KVM_SET_SIGNAL_MASK = 0x4004ae8b;
    internal const uint KVM_GET_LAPIC = 0x8400ae8e;
    internal const uint KVM_SET_LAPIC = 0x4400ae8f;
    internal const uint KVM_SET_CPUID2 = 0x4008ae90;
    internal const uint KVM_GET_MP_STATE = 0x8004ae98;
    internal const uint KVM_SET_MP_STATE = 0x4004ae99;
    internal const uint KVM_GET_VCPU_EVENTS = 0x8040ae9f;
    internal const uint KVM_SET_VCPU_EVENTS = 0x4040aea0;
    internal const uint KVM_GET_DEBUGREGS = 0x8080aea1;
    internal const uint KVM_SET_DEBUGREGS = 0x4080aea2;
    internal const uint KVM_SET_TSC_KHZ = 0xaea2;
    internal const uint KVM_GET_TSC_KHZ = 0xaea3;
    internal const uint KVM_GET_XSAVE = 0x9000aea4;
    internal const uint KVM_SET_XSAVE = 0x5000aea5;
    internal const uint KVM_GET_XCRS = 0x8188aea6;
    internal const uint KVM_SET_XCRS = 0x4188aea7;
    internal const uint KVM_KVMCLOCK_CTRL = 0xaead;
    internal const uint KVM_GET_NESTED_STATE = 0xc080aebe;
    internal const uint KVM_SET_NESTED_STATE = 0x4080aebf;
    internal const uint KVM_GET_STATS_FD = 0xaece;
    internal const uint KVM_GET_XSAVE2 = 0x9000aecf;
}
