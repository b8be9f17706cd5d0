using Iced.Intel;
using Vmm.Devices.Kvm;
using Vmm.Events;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Devices.Tests.Kvm;

/// <summary>The wires between guest and reactor that run through the kernel: ioeventfd one way, irqfd the other.</summary>
public sealed class KvmWireTests
{
    private const uint Device = 0xd000_0000;
    private const ushort Port = 0x600;

    [KvmFact]
    public async Task Ten_thousand_kicks_arrive_and_none_passes_through_user_space()
    {
        const int Kicks = 10_000;
        using KvmGuest guest = new();
        using EventFd kick = new();
        RecordingDevice device = new();
        guest.Mmio.Add(Device, 0x1000, device);
        new KvmIoEventFds(guest.Vm).Add(Device + 0x50, 4, null, kick);
        guest.Load(EntryMode.Long, c =>
        {
            Label loop = c.CreateLabel();
            c.mov(rbx, Device + 0x50);
            c.mov(ecx, Kicks);
            c.Label(ref loop);
            c.mov(__dword_ptr[rbx], ecx);
            c.dec(ecx);
            c.jnz(loop);
            c.hlt();
        });
        Assert.Equal(VcpuEndReason.Halted, (await guest.RunToEnd()).Reason);
        Assert.True(kick.TryRead(out ulong count));
        Assert.Equal((ulong)Kicks, count);
        Assert.Empty(device.Writes);
        Assert.Equal(0, guest.Thread.ExitCount(VcpuExitKind.MmioWrite));
    }

    [KvmFact]
    public async Task Only_the_value_that_matches_kicks_and_the_rest_reaches_the_device()
    {
        using KvmGuest guest = new();
        using EventFd first = new();
        using EventFd second = new();
        using EventFd any = new();
        using EventFd port = new();
        RecordingDevice device = new();
        guest.Mmio.Add(Device, 0x1000, device);
        KvmIoEventFds kicks = new(guest.Vm);
        kicks.Add(Device, 4, 1, first);
        kicks.Add(Device, 4, 2, second);
        guest.Vm.AddIoEvent(new KvmIoEvent(Device + 8, 0), any);
        guest.Vm.AddIoEvent(new KvmIoEvent(Port, 2, 7, IsPort: true), port);
        guest.Port.Add(Port, 4, device);
        Assert.Throws<InvalidOperationException>(() => kicks.Add(Device, 4, 1, first));
        guest.Load(EntryMode.Long, c =>
        {
            c.mov(rbx, Device);
            c.mov(__dword_ptr[rbx], 1);
            c.mov(__dword_ptr[rbx], 2);
            c.mov(__dword_ptr[rbx], 2);
            c.mov(__dword_ptr[rbx], 3);
            c.mov(__word_ptr[rbx], 1);
            c.mov(__byte_ptr[rbx + 8], 9);
            c.mov(__dword_ptr[rbx + 8], 9);
            c.mov(dx, Port);
            c.mov(ax, 7);
            c.@out(dx, ax);
            c.mov(ax, 8);
            c.@out(dx, ax);
            c.hlt();
        });
        Assert.Equal(VcpuEndReason.Halted, (await guest.RunToEnd()).Reason);
        Assert.Equal([1, 2, 2, 1], new[] { first, second, any, port }.Select(fd => fd.TryRead(out ulong count) ? count : 0));
        Assert.Equal([(0, 4, 3), (0, 2, 1), (0, 2, 8)], device.Writes);
    }

    [KvmFact]
    public async Task A_doorbell_that_was_removed_reaches_the_device_again()
    {
        using KvmGuest guest = new();
        using EventFd kick = new();
        RecordingDevice device = new();
        guest.Mmio.Add(Device, 0x1000, device);
        KvmIoEventFds kicks = new(guest.Vm);
        kicks.Add(Device, 4, null, kick);
        Assert.True(kicks.Remove(Device, 4, null));
        Assert.False(kicks.Remove(Device, 4, null));
        guest.Load(EntryMode.Long, c =>
        {
            c.mov(rbx, Device);
            c.mov(__dword_ptr[rbx], 5);
            c.hlt();
        });
        Assert.Equal(VcpuEndReason.Halted, (await guest.RunToEnd()).Reason);
        Assert.False(kick.TryRead(out _));
        Assert.Equal([(0, 4, 5)], device.Writes);
    }

    [KvmFact]
    public async Task Edge_interrupts_are_counted_by_the_guest()
    {
        const int Interrupts = 1000;
        using KvmGuest guest = KvmGuest.WithInterrupts();
        using KvmEdgeInterrupt interrupt = new(guest.Vm, 5);
        guest.LoadWithInterrupt(5, level: false, Count, WaitForEver).Start();
        guest.WaitForData(1, index: 1);
        for (uint i = 1; i <= Interrupts; i++)
        {
            interrupt.Assert();
            guest.WaitForData(i);
        }
        guest.Thread.RequestStop();
        Assert.Equal(VcpuEndReason.Stopped, (await guest.End()).Reason);
        Assert.Equal((uint)Interrupts, guest.DataWord());
    }

    [KvmFact]
    public async Task Message_interrupts_arrive_by_route_and_by_call()
    {
        using KvmGuest guest = KvmGuest.WithInterrupts();
        uint gsi = guest.Vm.AddMessageRoute(0xfee0_0000, KvmGuest.Vector);
        Assert.Equal(gsi + 1, guest.Vm.AddMessageRoute(0xfee0_0000, KvmGuest.Vector));
        using KvmEdgeInterrupt interrupt = new(guest.Vm, gsi);
        guest.LoadWithInterrupt(5, level: false, Count, WaitForEver).Start();
        guest.WaitForData(1, index: 1);
        interrupt.Assert();
        guest.WaitForData(1);
        Assert.True(guest.Vm.SendMessage(0xfee0_0000, KvmGuest.Vector));
        guest.WaitForData(2);
        guest.Thread.RequestStop();
        Assert.Equal(VcpuEndReason.Stopped, (await guest.End()).Reason);
    }

    [KvmFact]
    public async Task Split_controllers_take_message_interrupts()
    {
        using KvmGuest guest = new(vm => vm.CreateSplitInterruptControllers());
        uint gsi = guest.Vm.AddMessageRoute(0xfee0_0000, KvmGuest.Vector);
        using KvmEdgeInterrupt interrupt = new(guest.Vm, gsi);
        // Neither the I/O APIC nor the 8259 is in the kernel: what the guest writes there reaches no device here.
        guest.LoadWithInterrupt(5, level: false, Count, WaitForEver).Start();
        guest.WaitForData(1, index: 1);
        interrupt.Assert();
        guest.WaitForData(1);
        Assert.Equal(6, guest.Thread.UnhandledExits);
        guest.Thread.RequestStop();
        Assert.Equal(VcpuEndReason.Stopped, (await guest.End()).Reason);
    }

    [KvmFact]
    public void A_level_line_interrupts_again_until_the_device_is_content()
    {
        const int Rounds = 5;
        using KvmGuest guest = KvmGuest.WithInterrupts();
        using Reactor reactor = new();
        using KvmLevelInterrupt interrupt = new(guest.Vm, 9, reactor);
        int acknowledged = 0;
        RecordingDevice status = new((_, _) =>
        {
            if (Interlocked.Increment(ref acknowledged) == Rounds) interrupt.Deassert();
            return 0;
        });
        guest.Mmio.Add(Device, 0x1000, status);
        guest.LoadWithInterrupt(9, level: true, c =>
        {
            Count(c);
            c.mov(ebx, Device);
            c.mov(eax, __dword_ptr[rbx]);
        }, WaitForEver).Start();
        guest.WaitForData(1, index: 1);
        interrupt.Assert();
        for (int round = 1; round <= Rounds; round++)
        {
            // First the device, then the line. On hardware the order is the handler's: it ends the interrupt last. A KVM that only emulates (kvm_pvm)
            // ends it as it delivers it, before the handler's first instruction: its tracepoints show kvm_eoi there, and none for the guest's own.
            Assert.True(SpinWait.SpinUntil(() => Volatile.Read(ref acknowledged) == round, KvmGuest.Watchdog), $"the guest did not acknowledge interrupt {round}");
            HearEndOfInterrupt(reactor);
        }
        StopWhenQuiet(guest, reactor);
        Assert.Equal((uint)Rounds, guest.DataWord());
        Assert.Equal(Rounds, interrupt.Resamples);
    }

    [KvmFact]
    public void A_level_line_raised_anew_just_before_the_device_is_content_interrupts_once_more()
    {
        using KvmGuest guest = KvmGuest.WithInterrupts();
        using Reactor reactor = new();
        using KvmLevelInterrupt interrupt = new(guest.Vm, 9, reactor);
        guest.LoadWithInterrupt(9, level: true, Count, WaitForEver).Start();
        guest.WaitForData(1, index: 1);
        interrupt.Assert();
        HearEndOfInterrupt(reactor);
        // The line is up again, and only an end of interrupt lowers it: what the device says now comes too late for this one.
        interrupt.Deassert();
        guest.WaitForData(2);
        HearEndOfInterrupt(reactor);
        StopWhenQuiet(guest, reactor);
        Assert.Equal(2u, guest.DataWord());
        Assert.Equal(2, interrupt.Resamples);
    }

    [KvmFact]
    public async Task A_line_can_be_set_by_hand()
    {
        using KvmGuest guest = KvmGuest.WithInterrupts();
        guest.LoadWithInterrupt(5, level: false, Count, WaitForEver).Start();
        guest.WaitForData(1, index: 1);
        guest.Vm.SetLine(5, true);
        guest.WaitForData(1);
        guest.Vm.SetLine(5, false);
        guest.Thread.RequestStop();
        Assert.Equal(VcpuEndReason.Stopped, (await guest.End()).Reason);
    }

    [KvmFact]
    public void An_interrupt_without_controllers_is_refused()
    {
        using KvmGuest guest = new();
        Assert.Throws<KernelException>(() => new KvmEdgeInterrupt(guest.Vm, 5));
    }

    private static void HearEndOfInterrupt(Reactor reactor) =>
        Assert.True(reactor.RunOnce(KvmGuest.Watchdog) > 0, "the guest's end of interrupt was not heard");

    /// <summary>Gives an interrupt that nobody expects the time to come, and stops the guest.</summary>
    private static void StopWhenQuiet(KvmGuest guest, Reactor reactor)
    {
        Assert.Equal(0, reactor.RunOnce(TimeSpan.FromMilliseconds(20)));
        guest.Thread.RequestStop();
        Assert.True(guest.Thread.Join(KvmGuest.Watchdog));
    }

    /// <summary>Counts in the guest's word 0.</summary>
    private static void Count(Assembler c) => c.inc(__dword_ptr[KvmGuest.DataAddress]);

    /// <summary>Says in word 1 that interrupts are on, and sleeps between them.</summary>
    private static void WaitForEver(Assembler c)
    {
        Label loop = c.CreateLabel();
        c.sti();
        c.mov(__dword_ptr[KvmGuest.DataAddress + 4], 1);
        c.Label(ref loop);
        c.hlt();
        c.jmp(loop);
    }
}
