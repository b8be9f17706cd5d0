namespace Vmm.Devices.Native;

/// <summary>Why KVM_RUN returned (KVM_EXIT_… of linux/kvm.h).</summary>
internal enum KvmExitReason : uint
{
    Io = 2,
    Hypercall = 3,
    Debug = 4,
    Halt = 5,
    Mmio = 6,
    InterruptWindow = 7,
    Shutdown = 8,
    FailEntry = 9,
    Interrupted = 10,
    SetTpr = 11,
    TprAccess = 12,
    InternalError = 17,
    SystemEvent = 24,
    IoapicEoi = 26,
    ReadMsr = 29,
    WriteMsr = 30,
    BusLock = 33,
    Notify = 37,
}
