using System.Diagnostics;
using Iced.Intel;
using Vmm.Devices.Kvm;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Devices.Tests.Kvm;

public sealed class KvmStopTests
{
    [KvmFact]
    public async Task A_tight_loop_is_stopped_from_outside()
    {
        using KvmGuest guest = new();
        guest.Load(EntryMode.Long, CountForEver);
        guest.Start();
        Assert.True(SpinWait.SpinUntil(() => guest.DataWord() > 1000, KvmGuest.Watchdog));
        guest.Thread.RequestStop();
        Assert.Equal(VcpuEndReason.Stopped, (await guest.End()).Reason);
    }

    [KvmFact]
    public async Task A_halted_guest_with_interrupt_controllers_is_stopped_too()
    {
        using KvmGuest guest = KvmGuest.WithInterrupts();
        guest.Load(EntryMode.Long, c =>
        {
            c.mov(__dword_ptr[KvmGuest.DataAddress], 1);
            c.cli();
            c.hlt();
        });
        guest.Start();
        guest.WaitForData(1);
        guest.Thread.RequestStop();
        Assert.Equal(VcpuEndReason.Stopped, (await guest.End()).Reason);
    }

    [KvmFact]
    public void A_request_made_before_the_run_is_not_lost()
    {
        using KvmGuest guest = new();
        guest.Load(EntryMode.Long, CountForEver);
        guest.Vcpu.RequestExit();
        Assert.Equal(VcpuExitKind.Interrupted, RunOnce(guest));
        Assert.Equal(0u, guest.DataWord());
    }

    [KvmFact]
    public void No_request_of_many_is_lost_and_none_is_served_twice()
    {
        using KvmGuest guest = new();
        guest.Load(EntryMode.Long, CountForEver);
        const int Rounds = 500;
        int requested = 0;
        int served = 0;
        Thread vcpu = new(() =>
        {
            for (int i = 0; i < Rounds; i++)
            {
                VcpuExit exit = guest.Vcpu.Run();
                if (exit.Kind != VcpuExitKind.Interrupted) break;
                Volatile.Write(ref served, i + 1);
            }
        });
        vcpu.Start();
        Stopwatch clock = Stopwatch.StartNew();
        while (requested < Rounds && clock.Elapsed < KvmGuest.Watchdog)
        {
            requested++;
            guest.Vcpu.RequestExit();
            int wanted = requested;
            Assert.True(SpinWait.SpinUntil(() => Volatile.Read(ref served) >= wanted, KvmGuest.Watchdog), $"request {wanted} was lost");
        }
        Assert.True(vcpu.Join(KvmGuest.Watchdog));
        Assert.Equal(Rounds, served);
    }

    [KvmFact]
    public async Task Collections_do_not_disturb_a_running_guest()
    {
        using KvmGuest guest = new();
        guest.Load(EntryMode.Long, CountForEver);
        guest.Start();
        for (int i = 0; i < 20; i++)
        {
            uint before = guest.DataWord();
            GC.Collect();
            Assert.True(SpinWait.SpinUntil(() => guest.DataWord() != before, KvmGuest.Watchdog), "the guest stands still");
        }
        guest.Thread.RequestStop();
        Assert.Equal(VcpuEndReason.Stopped, (await guest.End()).Reason);
        Assert.Equal(0, guest.Thread.ExitCount(VcpuExitKind.MmioRead));
    }

    [KvmFact]
    public void A_request_after_dispose_does_nothing()
    {
        KvmGuest guest = new();
        guest.Dispose();
        guest.Vcpu.RequestExit();
    }

    private static VcpuExitKind RunOnce(KvmGuest guest)
    {
        VcpuExitKind kind = VcpuExitKind.Failed;
        Thread vcpu = new(() => kind = guest.Vcpu.Run().Kind);
        vcpu.Start();
        Assert.True(vcpu.Join(KvmGuest.Watchdog));
        return kind;
    }

    private static void CountForEver(Assembler c)
    {
        Label loop = c.CreateLabel();
        c.Label(ref loop);
        c.inc(__dword_ptr[KvmGuest.DataAddress]);
        c.jmp(loop);
    }
}
