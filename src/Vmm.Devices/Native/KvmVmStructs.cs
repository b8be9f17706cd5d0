namespace Vmm.Devices.Native;

// Structures of linux/kvm.h that describe a VM. Sizes and offsets are compared with the C compiler's in the ABI tests.

/// <summary>struct kvm_userspace_memory_region.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmMemoryRegion
{
    internal const uint LogDirtyPages = 1;

    internal uint Slot;
    internal uint Flags;
    internal ulong GuestAddress;
    internal ulong Size;
    internal ulong HostAddress;
}

/// <summary>struct kvm_dirty_log.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmDirtyLog
{
    internal uint Slot;
    internal uint Padding;
    internal ulong Bitmap;
}

/// <summary>struct kvm_ioeventfd.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmIoEventFd
{
    internal const uint DataMatch = 1;
    internal const uint Port = 2;
    internal const uint Deassign = 4;

    internal ulong Match;
    internal ulong Address;
    internal uint Length;
    internal int Fd;
    internal uint Flags;
    internal KvmPad36 Padding;
}

/// <summary>struct kvm_irqfd.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmIrqFd
{
    internal const uint Resample = 2;

    internal uint Fd;
    internal uint Gsi;
    internal uint Flags;
    internal uint ResampleFd;
    internal ulong Padding0;
    internal ulong Padding1;
}

/// <summary>struct kvm_irq_level.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmIrqLevel
{
    internal uint Gsi;
    internal uint Level;
}

/// <summary>The head of struct kvm_irq_routing; entries follow.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmIrqRoutingHead
{
    internal uint Count;
    internal uint Flags;
}

/// <summary>struct kvm_irq_routing_entry, with the two members of its union that x86 uses laid over each other.</summary>
[StructLayout(LayoutKind.Explicit, Size = 48)]
internal struct KvmIrqRoutingEntry
{
    internal const uint TypeIrqChip = 1;
    internal const uint TypeMsi = 2;

    [FieldOffset(0)] internal uint Gsi;
    [FieldOffset(4)] internal uint Type;
    [FieldOffset(8)] internal uint Flags;
    [FieldOffset(16)] internal uint IrqChip;
    [FieldOffset(20)] internal uint Pin;
    [FieldOffset(16)] internal uint MsiAddressLow;
    [FieldOffset(20)] internal uint MsiAddressHigh;
    [FieldOffset(24)] internal uint MsiData;
}

/// <summary>struct kvm_msi.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmMsi
{
    internal uint AddressLow;
    internal uint AddressHigh;
    internal uint Data;
    internal uint Flags;
    internal ulong Padding0;
    internal ulong Padding1;
}

/// <summary>struct kvm_pit_config.</summary>
[StructLayout(LayoutKind.Explicit, Size = 64)]
internal struct KvmPitConfig
{
    /// <summary>Port 0x61 is emulated by the kernel too.</summary>
    internal const uint SpeakerDummy = 1;

    [FieldOffset(0)] internal uint Flags;
}

/// <summary>struct kvm_enable_cap.</summary>
[StructLayout(LayoutKind.Explicit, Size = 104)]
internal struct KvmEnableCap
{
    [FieldOffset(0)] internal uint Capability;
    [FieldOffset(4)] internal uint Flags;
    [FieldOffset(8)] internal ulong Argument0;
}

/// <summary>struct kvm_irqchip: one of the two 8259, or the I/O APIC.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmIrqChip
{
    internal uint Chip;
    internal uint Padding;
    internal KvmBytes512 State;
}

/// <summary>struct kvm_pit_state2, as bytes.</summary>
[InlineArray(112)]
internal struct KvmPitState
{
    private byte _first;
}

/// <summary>struct kvm_clock_data.</summary>
[StructLayout(LayoutKind.Explicit, Size = 48)]
internal struct KvmClock
{
    [FieldOffset(0)] internal ulong Nanoseconds;
    [FieldOffset(8)] internal uint Flags;
}

/// <summary>36 bytes of padding.</summary>
[InlineArray(36)]
internal struct KvmPad36
{
    private byte _first;
}

/// <summary>512 bytes of state.</summary>
[InlineArray(512)]
internal struct KvmBytes512
{
    private byte _first;
}
