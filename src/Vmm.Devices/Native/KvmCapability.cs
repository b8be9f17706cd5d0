namespace Vmm.Devices.Native;

/// <summary>What a kernel may or may not be able to do (KVM_CAP_… of linux/kvm.h), asked with KVM_CHECK_EXTENSION.</summary>
internal enum KvmCapability : uint
{
    IrqChip = 0,
    UserMemory = 3,
    SetTssAddress = 4,
    ExtendedCpuid = 7,
    MemorySlotsMax = 10,
    MpState = 14,
    IrqRouting = 25,
    IrqFd = 32,
    Pit2 = 33,
    IoEventFd = 36,
    AdjustClock = 39,
    VcpuEvents = 41,
    DebugRegs = 50,
    Xsave = 55,
    Xcrs = 56,
    VcpusMax = 66,
    TscDeadlineTimer = 72,
    SignalMsi = 77,
    IrqFdResample = 82,
    SplitIrqChip = 121,
    IoEventFdAnyLength = 122,
    ImmediateExit = 136,
    ManualDirtyLogProtect = 168,
    NestedState = 157,
    BinaryStatistics = 203,
    Xsave2 = 208,
}
