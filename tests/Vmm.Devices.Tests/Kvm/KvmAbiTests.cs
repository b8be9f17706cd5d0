using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vmm.Devices.Kvm;
using Vmm.Devices.Native;
using Vmm.Tests.Native;

namespace Vmm.Devices.Tests.Kvm;

/// <summary>Holds our structures and request numbers against what the C compiler says of the kernel's headers.</summary>
[Collection(Alone.Name)]
public sealed class KvmAbiTests
{
    private static readonly string[] Headers = ["linux/kvm.h"];

    private static readonly (string C, int Ours)[] Sizes =
    [
        ("struct kvm_userspace_memory_region", Unsafe.SizeOf<KvmMemoryRegion>()),
        ("struct kvm_dirty_log", Unsafe.SizeOf<KvmDirtyLog>()),
        ("struct kvm_ioeventfd", Unsafe.SizeOf<KvmIoEventFd>()),
        ("struct kvm_irqfd", Unsafe.SizeOf<KvmIrqFd>()),
        ("struct kvm_irq_level", Unsafe.SizeOf<KvmIrqLevel>()),
        ("struct kvm_irq_routing", Unsafe.SizeOf<KvmIrqRoutingHead>()),
        ("struct kvm_irq_routing_entry", Unsafe.SizeOf<KvmIrqRoutingEntry>()),
        ("struct kvm_msi", Unsafe.SizeOf<KvmMsi>()),
        ("struct kvm_pit_config", Unsafe.SizeOf<KvmPitConfig>()),
        ("struct kvm_pit_state2", Unsafe.SizeOf<KvmPitState>()),
        ("struct kvm_enable_cap", Unsafe.SizeOf<KvmEnableCap>()),
        ("struct kvm_irqchip", Unsafe.SizeOf<KvmIrqChip>()),
        ("struct kvm_clock_data", Unsafe.SizeOf<KvmClock>()),
        ("struct kvm_regs", Unsafe.SizeOf<KvmRegs>()),
        ("struct kvm_segment", Unsafe.SizeOf<KvmSegment>()),
        ("struct kvm_dtable", Unsafe.SizeOf<KvmDescriptorTable>()),
        ("struct kvm_sregs", Unsafe.SizeOf<KvmSregs>()),
        ("struct kvm_msrs", Unsafe.SizeOf<KvmCountHead>()),
        ("struct kvm_msr_entry", Unsafe.SizeOf<KvmMsrEntry>()),
        ("struct kvm_cpuid2", Unsafe.SizeOf<KvmCountHead>()),
        ("struct kvm_cpuid_entry2", Unsafe.SizeOf<KvmCpuidEntry>()),
        ("struct kvm_mp_state", Unsafe.SizeOf<KvmMpState>()),
        ("struct kvm_lapic_state", Unsafe.SizeOf<KvmLapicState>()),
        ("struct kvm_xcrs", Unsafe.SizeOf<KvmXcrs>()),
        ("struct kvm_vcpu_events", Unsafe.SizeOf<KvmVcpuEvents>()),
        ("struct kvm_debugregs", Unsafe.SizeOf<KvmDebugRegs>()),
    ];

    private static readonly (string Struct, string Field, nint Ours)[] Offsets =
    [
        ("kvm_run", "immediate_exit", Offset<KvmRun>(nameof(KvmRun.ImmediateExit))),
        ("kvm_run", "exit_reason", Offset<KvmRun>(nameof(KvmRun.ExitReason))),
        ("kvm_run", "hw.hardware_exit_reason", Offset<KvmRun>(nameof(KvmRun.HardwareReason))),
        ("kvm_run", "fail_entry.hardware_entry_failure_reason", Offset<KvmRun>(nameof(KvmRun.HardwareReason))),
        ("kvm_run", "io.direction", InRun<KvmRunIo>(nameof(KvmRun.Io), nameof(KvmRunIo.Direction))),
        ("kvm_run", "io.size", InRun<KvmRunIo>(nameof(KvmRun.Io), nameof(KvmRunIo.Size))),
        ("kvm_run", "io.port", InRun<KvmRunIo>(nameof(KvmRun.Io), nameof(KvmRunIo.Port))),
        ("kvm_run", "io.count", InRun<KvmRunIo>(nameof(KvmRun.Io), nameof(KvmRunIo.Count))),
        ("kvm_run", "io.data_offset", InRun<KvmRunIo>(nameof(KvmRun.Io), nameof(KvmRunIo.DataOffset))),
        ("kvm_run", "mmio.phys_addr", InRun<KvmRunMmio>(nameof(KvmRun.Mmio), nameof(KvmRunMmio.Address))),
        ("kvm_run", "mmio.data", InRun<KvmRunMmio>(nameof(KvmRun.Mmio), nameof(KvmRunMmio.Data))),
        ("kvm_run", "mmio.data", KvmRunArea.MmioDataOffset),
        ("kvm_run", "mmio.len", InRun<KvmRunMmio>(nameof(KvmRun.Mmio), nameof(KvmRunMmio.Length))),
        ("kvm_run", "mmio.is_write", InRun<KvmRunMmio>(nameof(KvmRun.Mmio), nameof(KvmRunMmio.IsWrite))),
        ("kvm_run", "hypercall.nr", InRun<KvmRunHypercall>(nameof(KvmRun.Hypercall), nameof(KvmRunHypercall.Number))),
        ("kvm_run", "hypercall.ret", InRun<KvmRunHypercall>(nameof(KvmRun.Hypercall), nameof(KvmRunHypercall.Result))),
        ("kvm_run", "internal.suberror", InRun<KvmRunInternalError>(nameof(KvmRun.InternalError), nameof(KvmRunInternalError.SubError))),
        ("kvm_run", "internal.ndata", InRun<KvmRunInternalError>(nameof(KvmRun.InternalError), nameof(KvmRunInternalError.DataCount))),
        ("kvm_run", "system_event.type", InRun<KvmRunSystemEvent>(nameof(KvmRun.SystemEvent), nameof(KvmRunSystemEvent.Type))),
        ("kvm_run", "msr.error", InRun<KvmRunMsr>(nameof(KvmRun.Msr), nameof(KvmRunMsr.Error))),
        ("kvm_run", "msr.index", InRun<KvmRunMsr>(nameof(KvmRun.Msr), nameof(KvmRunMsr.Index))),
        ("kvm_run", "msr.data", InRun<KvmRunMsr>(nameof(KvmRun.Msr), nameof(KvmRunMsr.Data))),
        ("kvm_userspace_memory_region", "guest_phys_addr", Offset<KvmMemoryRegion>(nameof(KvmMemoryRegion.GuestAddress))),
        ("kvm_userspace_memory_region", "memory_size", Offset<KvmMemoryRegion>(nameof(KvmMemoryRegion.Size))),
        ("kvm_userspace_memory_region", "userspace_addr", Offset<KvmMemoryRegion>(nameof(KvmMemoryRegion.HostAddress))),
        ("kvm_dirty_log", "dirty_bitmap", Offset<KvmDirtyLog>(nameof(KvmDirtyLog.Bitmap))),
        ("kvm_ioeventfd", "datamatch", Offset<KvmIoEventFd>(nameof(KvmIoEventFd.Match))),
        ("kvm_ioeventfd", "addr", Offset<KvmIoEventFd>(nameof(KvmIoEventFd.Address))),
        ("kvm_ioeventfd", "len", Offset<KvmIoEventFd>(nameof(KvmIoEventFd.Length))),
        ("kvm_ioeventfd", "fd", Offset<KvmIoEventFd>(nameof(KvmIoEventFd.Fd))),
        ("kvm_ioeventfd", "flags", Offset<KvmIoEventFd>(nameof(KvmIoEventFd.Flags))),
        ("kvm_irqfd", "gsi", Offset<KvmIrqFd>(nameof(KvmIrqFd.Gsi))),
        ("kvm_irqfd", "flags", Offset<KvmIrqFd>(nameof(KvmIrqFd.Flags))),
        ("kvm_irqfd", "resamplefd", Offset<KvmIrqFd>(nameof(KvmIrqFd.ResampleFd))),
        ("kvm_irq_level", "level", Offset<KvmIrqLevel>(nameof(KvmIrqLevel.Level))),
        ("kvm_irq_routing", "entries", Unsafe.SizeOf<KvmIrqRoutingHead>()),
        ("kvm_irq_routing_entry", "type", Offset<KvmIrqRoutingEntry>(nameof(KvmIrqRoutingEntry.Type))),
        ("kvm_irq_routing_entry", "u.irqchip.irqchip", Offset<KvmIrqRoutingEntry>(nameof(KvmIrqRoutingEntry.IrqChip))),
        ("kvm_irq_routing_entry", "u.irqchip.pin", Offset<KvmIrqRoutingEntry>(nameof(KvmIrqRoutingEntry.Pin))),
        ("kvm_irq_routing_entry", "u.msi.address_lo", Offset<KvmIrqRoutingEntry>(nameof(KvmIrqRoutingEntry.MsiAddressLow))),
        ("kvm_irq_routing_entry", "u.msi.address_hi", Offset<KvmIrqRoutingEntry>(nameof(KvmIrqRoutingEntry.MsiAddressHigh))),
        ("kvm_irq_routing_entry", "u.msi.data", Offset<KvmIrqRoutingEntry>(nameof(KvmIrqRoutingEntry.MsiData))),
        ("kvm_msi", "data", Offset<KvmMsi>(nameof(KvmMsi.Data))),
        ("kvm_enable_cap", "args", Offset<KvmEnableCap>(nameof(KvmEnableCap.Argument0))),
        ("kvm_clock_data", "clock", Offset<KvmClock>(nameof(KvmClock.Nanoseconds))),
        ("kvm_clock_data", "flags", Offset<KvmClock>(nameof(KvmClock.Flags))),
        ("kvm_regs", "rsp", Offset<KvmRegs>(nameof(KvmRegs.Rsp))),
        ("kvm_regs", "r8", Offset<KvmRegs>(nameof(KvmRegs.R8))),
        ("kvm_regs", "rip", Offset<KvmRegs>(nameof(KvmRegs.Rip))),
        ("kvm_regs", "rflags", Offset<KvmRegs>(nameof(KvmRegs.Rflags))),
        ("kvm_segment", "selector", Offset<KvmSegment>(nameof(KvmSegment.Selector))),
        ("kvm_segment", "type", Offset<KvmSegment>(nameof(KvmSegment.Type))),
        ("kvm_segment", "present", Offset<KvmSegment>(nameof(KvmSegment.Present))),
        ("kvm_segment", "dpl", Offset<KvmSegment>(nameof(KvmSegment.PrivilegeLevel))),
        ("kvm_segment", "db", Offset<KvmSegment>(nameof(KvmSegment.DefaultBig))),
        ("kvm_segment", "s", Offset<KvmSegment>(nameof(KvmSegment.CodeOrData))),
        ("kvm_segment", "l", Offset<KvmSegment>(nameof(KvmSegment.Long))),
        ("kvm_segment", "g", Offset<KvmSegment>(nameof(KvmSegment.Granularity))),
        ("kvm_segment", "unusable", Offset<KvmSegment>(nameof(KvmSegment.Unusable))),
        ("kvm_sregs", "tr", Offset<KvmSregs>(nameof(KvmSregs.Tr))),
        ("kvm_sregs", "gdt", Offset<KvmSregs>(nameof(KvmSregs.Gdt))),
        ("kvm_sregs", "cr0", Offset<KvmSregs>(nameof(KvmSregs.Cr0))),
        ("kvm_sregs", "cr3", Offset<KvmSregs>(nameof(KvmSregs.Cr3))),
        ("kvm_sregs", "efer", Offset<KvmSregs>(nameof(KvmSregs.Efer))),
        ("kvm_sregs", "apic_base", Offset<KvmSregs>(nameof(KvmSregs.ApicBase))),
        ("kvm_sregs", "interrupt_bitmap", Offset<KvmSregs>(nameof(KvmSregs.Interrupts0))),
        ("kvm_msr_entry", "data", Offset<KvmMsrEntry>(nameof(KvmMsrEntry.Data))),
        ("kvm_msr_list", "indices", sizeof(uint)),
        ("kvm_cpuid2", "entries", Unsafe.SizeOf<KvmCountHead>()),
        ("kvm_cpuid_entry2", "index", Offset<KvmCpuidEntry>(nameof(KvmCpuidEntry.Index))),
        ("kvm_cpuid_entry2", "flags", Offset<KvmCpuidEntry>(nameof(KvmCpuidEntry.Flags))),
        ("kvm_cpuid_entry2", "edx", Offset<KvmCpuidEntry>(nameof(KvmCpuidEntry.Edx))),
        ("kvm_signal_mask", "sigset", Offset<KvmSignalMask>(nameof(KvmSignalMask.Set))),
    ];

    [Fact]
    public void Structures_have_the_sizes_of_the_kernel_headers()
    {
        IReadOnlyDictionary<string, long> theirs = KernelHeaders.Evaluate(Headers, [.. Sizes.Select(size => $"sizeof({size.C})").Distinct()]);
        Assert.All(Sizes, size => Assert.Equal(theirs[$"sizeof({size.C})"], size.Ours));
    }

    [Fact]
    public void Fields_have_the_offsets_of_the_kernel_headers()
    {
        IReadOnlyDictionary<string, long> theirs = KernelHeaders.Evaluate(Headers,
            [.. Offsets.Select(offset => $"offsetof(struct {offset.Struct}, {offset.Field})").Distinct()]);
        Assert.All(Offsets, offset => Assert.True(theirs[$"offsetof(struct {offset.Struct}, {offset.Field})"] == offset.Ours,
            $"{offset.Struct}.{offset.Field}: {theirs[$"offsetof(struct {offset.Struct}, {offset.Field})"]} in C, {offset.Ours} here"));
    }

    [Fact]
    public void Request_numbers_are_those_of_the_kernel_headers()
    {
        FieldInfo[] requests = typeof(KvmRequest).GetFields(BindingFlags.Static | BindingFlags.NonPublic);
        Assert.NotEmpty(requests);
        IReadOnlyDictionary<string, long> theirs = KernelHeaders.Evaluate(Headers, [.. requests.Select(field => field.Name)]);
        Assert.All(requests, field => Assert.Equal(theirs[field.Name], (uint)field.GetRawConstantValue()!));
    }

    [Fact]
    public void Capabilities_and_exit_reasons_are_those_of_the_kernel_headers()
    {
        (string C, long Ours)[] values =
        [
            ("KVM_CAP_IRQCHIP", (long)KvmCapability.IrqChip), ("KVM_CAP_USER_MEMORY", (long)KvmCapability.UserMemory),
            ("KVM_CAP_SET_TSS_ADDR", (long)KvmCapability.SetTssAddress), ("KVM_CAP_EXT_CPUID", (long)KvmCapability.ExtendedCpuid),
            ("KVM_CAP_MP_STATE", (long)KvmCapability.MpState),
            ("KVM_CAP_IRQFD", (long)KvmCapability.IrqFd),
            ("KVM_CAP_PIT2", (long)KvmCapability.Pit2), ("KVM_CAP_IOEVENTFD", (long)KvmCapability.IoEventFd),
            ("KVM_CAP_MAX_VCPUS", (long)KvmCapability.VcpusMax),
            ("KVM_CAP_TSC_DEADLINE_TIMER", (long)KvmCapability.TscDeadlineTimer),
            ("KVM_CAP_IRQFD_RESAMPLE", (long)KvmCapability.IrqFdResample), ("KVM_CAP_SPLIT_IRQCHIP", (long)KvmCapability.SplitIrqChip),
            ("KVM_CAP_IMMEDIATE_EXIT", (long)KvmCapability.ImmediateExit),
            ("KVM_EXIT_IO", (long)KvmExitReason.Io), ("KVM_EXIT_HYPERCALL", (long)KvmExitReason.Hypercall), ("KVM_EXIT_HLT", (long)KvmExitReason.Halt),
            ("KVM_EXIT_MMIO", (long)KvmExitReason.Mmio), ("KVM_EXIT_SHUTDOWN", (long)KvmExitReason.Shutdown),
            ("KVM_EXIT_FAIL_ENTRY", (long)KvmExitReason.FailEntry), ("KVM_EXIT_INTERNAL_ERROR", (long)KvmExitReason.InternalError),
            ("KVM_EXIT_SYSTEM_EVENT", (long)KvmExitReason.SystemEvent), ("KVM_EXIT_IOAPIC_EOI", (long)KvmExitReason.IoapicEoi),
            ("KVM_EXIT_X86_RDMSR", (long)KvmExitReason.ReadMsr), ("KVM_EXIT_X86_WRMSR", (long)KvmExitReason.WriteMsr),
            ("KVM_IOEVENTFD_FLAG_DATAMATCH", KvmIoEventFd.DataMatch), ("KVM_IOEVENTFD_FLAG_PIO", KvmIoEventFd.Port),
            ("KVM_IOEVENTFD_FLAG_DEASSIGN", KvmIoEventFd.Deassign),
            ("KVM_IRQFD_FLAG_RESAMPLE", KvmIrqFd.Resample), ("KVM_IRQ_ROUTING_IRQCHIP", KvmIrqRoutingEntry.TypeIrqChip),
            ("KVM_IRQ_ROUTING_MSI", KvmIrqRoutingEntry.TypeMsi), ("KVM_MEM_LOG_DIRTY_PAGES", KvmMemoryRegion.LogDirtyPages),
            ("KVM_PIT_SPEAKER_DUMMY", KvmPitConfig.SpeakerDummy),
            ("KVM_MP_STATE_RUNNABLE", KvmMpState.Runnable), ("KVM_MP_STATE_UNINITIALIZED", KvmMpState.Uninitialized),
            ("KVM_MP_STATE_HALTED", KvmMpState.Halted), ("KVM_CPUID_FLAG_SIGNIFCANT_INDEX", KvmCpuidEntry.SignificantIndex),
        ];
        IReadOnlyDictionary<string, long> theirs = KernelHeaders.Evaluate(Headers, [.. values.Select(value => value.C)]);
        Assert.All(values, value => Assert.True(theirs[value.C] == value.Ours, $"{value.C} is {theirs[value.C]} in C, {value.Ours} here"));
    }

    private static nint Offset<T>(string field) => Marshal.OffsetOf<T>(field);

    private static nint InRun<T>(string member, string field) => Offset<KvmRun>(member) + Offset<T>(field);
}
