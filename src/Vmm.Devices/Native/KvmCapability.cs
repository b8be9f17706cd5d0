namespace Vmm.Devices.Native;

/// <summary>What a kernel may or may not be able to do (KVM_CAP_… of linux/kvm.h), asked with KVM_CHECK_EXTENSION.</summary>
internal enum KvmCapability : uint
{
    IrqChip = 0,
    UserMemory = 3,
    SetTssAddress = 4,
    ExtendedCpuid = 7,
    MpState = 14,
    IrqFd = 32,
    Pit2 = 33,
    IoEventFd = 36,
    VcpusMax = 66,
    TscDeadlineTimer = 72,
    IrqFdResample = 82,
    SplitIrqChip = 121,
    ImmediateExit = 136,
    ManualDirtyLogProtect = 168,
    NestedState = 157,
    Xsave2 = 208,
}
