namespace Vmm.Devices.Kvm;

/// <summary>
/// A guest write that KVM turns into a signal of an eventfd inside the kernel, with no exit to user space (KVM_IOEVENTFD).
/// </summary>
/// <param name="Address">The guest-physical address or the port.</param>
/// <param name="Length">Bytes of the write: 1, 2, 4 or 8; 0 takes a write of any length, and then there is no match.</param>
/// <param name="Match">The value that must be written, or null for any.</param>
/// <param name="IsPort">Whether <paramref name="Address"/> is a port.</param>
public readonly record struct KvmIoEvent(ulong Address, int Length, ulong? Match = null, bool IsPort = false);
