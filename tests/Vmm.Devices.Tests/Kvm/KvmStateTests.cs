using Iced.Intel;
using Vmm.Devices.Kvm;
using Vmm.Devices.Native;
using Vmm.Events;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Devices.Tests.Kvm;

public sealed class KvmStateTests
{
    [KvmFact]
    public void Registers_are_read_back_as_they_were_set()
    {
        using KvmGuest guest = new();
        guest.Vcpu.SetRegisters(new KvmRegs { Rax = 1, R15 = 2, Rip = 0x1234, Rflags = 2 });
        KvmRegs regs = guest.Vcpu.GetRegisters();
        Assert.Equal((1ul, 2ul, 0x1234ul, 2ul), (regs.Rax, regs.R15, regs.Rip, regs.Rflags));
    }

    [KvmFact]
    public async Task Pages_the_guest_wrote_are_told_once()
    {
        using KvmGuest guest = new(logDirtyPages: true);
        guest.Load(EntryMode.Real, c =>
        {
            c.mov(__byte_ptr[0x7000], 1);
            c.mov(__byte_ptr[0x5fff], 1);
            c.hlt();
        });
        ulong[] dirty = new ulong[KvmGuest.MemoryBytes / 4096 / 64];
        guest.Vm.GetDirtyPages(0, dirty);
        Assert.Equal(VcpuEndReason.Halted, (await guest.RunToEnd()).Reason);
        guest.Vm.GetDirtyPages(0, dirty);
        Assert.Equal((1ul << 5) | (1ul << 7), dirty[0]);
        guest.Vm.GetDirtyPages(0, dirty);
        Assert.All(dirty, word => Assert.Equal(0ul, word));
    }

    [KvmFact]
    public void Dirty_pages_of_a_slot_that_does_not_log_are_refused()
    {
        using KvmGuest guest = new();
        Assert.Throws<KernelException>(() => guest.Vm.GetDirtyPages(0, new ulong[KvmGuest.MemoryBytes / 4096 / 64]));
    }

    [KvmFact]
    public async Task A_snapshot_goes_on_in_another_machine()
    {
        using KvmGuest first = KvmGuest.WithInterrupts();
        first.Load(EntryMode.Long, c =>
        {
            Label loop = c.CreateLabel();
            c.mov(r15, 0x1234_5678);
            c.xor(ecx, ecx);
            c.Label(ref loop);
            c.inc(ecx);
            c.mov(__dword_ptr[KvmGuest.DataAddress], ecx);
            c.mov(__dword_ptr[KvmGuest.DataAddress + 4], r15d);
            c.jmp(loop);
        });
        first.Vcpu.SetMsrs([new KvmMsrEntry { Index = 0xc000_0102, Data = 0xffff_8000_1234_5678 }]);
        first.Start();
        Assert.True(SpinWait.SpinUntil(() => first.DataWord() > 100, KvmGuest.Watchdog));
        first.Thread.RequestStop();
        await first.End();
        Assert.True(first.Thread.Join(KvmGuest.Watchdog));
        KvmVcpuState state = first.Vcpu.Save(first.System.GetMsrIndices());
        uint reached = first.DataWord();

        using KvmGuest second = KvmGuest.WithInterrupts();
        first.Memory.CopyTo(second.Memory);
        second.Memory.Slice(KvmGuest.DataAddress, 16).Clear();
        second.Vcpu.Restore(state);
        KvmVcpuState restored = second.Vcpu.Save(second.System.GetMsrIndices());
        Assert.Equal(state.Registers, restored.Registers);
        Assert.Contains(restored.Msrs, msr => msr.Index == 0xc000_0102 && msr.Data == 0xffff_8000_1234_5678);
        second.Start();
        Assert.True(SpinWait.SpinUntil(() => second.DataWord() > reached + 100, KvmGuest.Watchdog), "it did not go on");
        second.WaitForData(0x1234_5678, index: 1);
        second.Thread.RequestStop();
        Assert.Equal(VcpuEndReason.Stopped, (await second.End()).Reason);
    }

    [KvmFact]
    public void Vector_registers_are_part_of_a_snapshot()
    {
        const int Vector3 = 160 + 3 * 16;
        const int StateBits = 512;
        using KvmGuest first = KvmGuest.WithInterrupts();
        KvmVcpuState state = first.Vcpu.Save([]);
        state.Xsave[Vector3] = 0xa5;
        state.Xsave[StateBits] |= 2;
        first.Vcpu.Restore(state);
        Assert.Equal(0xa5, first.Vcpu.Save([]).Xsave[Vector3]);
    }

    [KvmFact]
    public async Task A_second_vcpu_is_started_by_the_first()
    {
        using KvmGuest guest = KvmGuest.WithInterrupts();
        using KvmVcpu second = guest.Vm.CreateVcpu(1);
        Assert.Equal(KvmMpState.Uninitialized, second.GetMpState().State);
        guest.Assemble(EntryMode.Real, 0x2000, c =>
        {
            Label loop = c.CreateLabel();
            c.mov(ax, (ushort)(KvmGuest.DataAddress >> 4));
            c.mov(ds, ax);
            c.mov(__dword_ptr[0], 0x1234_5678);
            c.Label(ref loop);
            c.hlt();
            c.jmp(loop);
        });
        guest.Load(EntryMode.Long, c =>
        {
            Label loop = c.CreateLabel();
            c.mov(ebx, 0xfee0_0000);
            c.mov(__dword_ptr[rbx + 0xf0], 0x1ff);
            c.mov(__dword_ptr[rbx + 0x310], 1 << 24);
            c.mov(__dword_ptr[rbx + 0x300], 0x4500);
            c.mov(__dword_ptr[rbx + 0x310], 1 << 24);
            c.mov(__dword_ptr[rbx + 0x300], 0x4602);
            c.Label(ref loop);
            c.hlt();
            c.jmp(loop);
        });
        TaskCompletionSource<VcpuEnd> end = new(TaskCreationOptions.RunContinuationsAsynchronously);
        using VcpuThread thread = new(second, guest.Mmio, guest.Port, (_, how) => end.SetResult(how));
        thread.Start();
        guest.Start();
        guest.WaitForData(0x1234_5678);
        thread.RequestStop();
        Assert.Equal(VcpuEndReason.Stopped, (await end.Task.WaitAsync(KvmGuest.Watchdog, TestContext.Current.CancellationToken)).Reason);
    }

    [KvmFact]
    public async Task A_vcpu_that_waits_to_be_started_can_be_stopped()
    {
        using KvmGuest guest = KvmGuest.WithInterrupts();
        using KvmVcpu second = guest.Vm.CreateVcpu(1);
        TaskCompletionSource<VcpuEnd> end = new(TaskCreationOptions.RunContinuationsAsynchronously);
        using VcpuThread thread = new(second, guest.Mmio, guest.Port, (_, how) => end.SetResult(how));
        thread.Start();
        thread.RequestStop();
        Assert.Equal(VcpuEndReason.Stopped, (await end.Task.WaitAsync(KvmGuest.Watchdog, TestContext.Current.CancellationToken)).Reason);
    }

    [KvmFact]
    public void A_place_in_words_has_every_register_and_the_exception_on_its_way()
    {
        using KvmGuest guest = new();
        guest.Load(EntryMode.Long, KvmGuest.Spin);
        KvmVcpuState state = guest.Vcpu.Save([]);
        KvmSregs system = state.SystemRegisters;
        string registers = $"rip {KvmGuest.CodeAddress:x}, cr0 {system.Cr0:x}, cr2 {system.Cr2:x}, cr3 {system.Cr3:x}, cr4 {system.Cr4:x}, efer {system.Efer:x}, ";
        // Long mode: protection and paging, page tables, PAE, LME and LMA.
        Assert.True((system.Cr0 & 0x8000_0001) == 0x8000_0001 && system.Cr3 != 0 && (system.Cr4 & 0x20) != 0 && (system.Efer & 0x500) == 0x500, registers);
        Assert.Equal(registers + "no exception pending", guest.Vcpu.DescribePlace());
        KvmVcpuEvents events = state.Events;
        // injected, number, has an error code; the code.
        (events[0], events[1], events[2], events[4], events[5]) = (1, 13, 1, 0x5a, 1);
        guest.Vcpu.Restore(KvmGuest.With(state, events));
        Assert.Equal(registers + "exception 13 injected, error code 15a", guest.Vcpu.DescribePlace());
    }

    [KvmFact]
    public void A_vcpu_that_can_not_be_entered_has_failed_and_says_what_the_processor_said()
    {
        using KvmGuest guest = new();
        KvmRun run = default;
        run.ExitReason = KvmExitReason.FailEntry;
        run.HardwareReason = 0x8000_0021;
        Assert.True(guest.Vcpu.TryTakeRareExit(ref run, out VcpuExit exit));
        Assert.Equal((VcpuExitKind.Failed, 0x8000_0021ul), (exit.Kind, exit.Address));
        Assert.Equal("vCPU 0: the processor refused to enter the guest, hardware reason 80000021", guest.Vcpu.Failure);
    }
}
