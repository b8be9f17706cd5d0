using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Devices.Tests;

public sealed class SimulatedVcpuTests
{
    private const int Vector = 5;
    private static readonly TimeSpan Watchdog = TimeSpan.FromSeconds(30);

    private readonly SimulatedInterrupts _interrupts = new(2);
    private readonly SimulatedIoEventFds _kicks = new();

    [Fact]
    public void A_load_exits_and_goes_on_with_the_answer()
    {
        ulong loaded = 0;
        using SimulatedVcpu vcpu = Make(async cpu => loaded = await cpu.Read32(0x1000));
        VcpuExit exit = vcpu.Run();
        Assert.Equal((VcpuExitKind.MmioRead, 0x1000ul, 4, 4), (exit.Kind, exit.Address, exit.Width, exit.Data.Length));
        new byte[] { 0x78, 0x56, 0x34, 0x12 }.CopyTo(exit.Data);
        Assert.Equal(VcpuExitKind.Shutdown, vcpu.Run().Kind);
        Assert.Equal(0x12345678u, loaded);
    }

    [Fact]
    public void Every_width_and_space_gives_its_exit()
    {
        List<string> exits = [];
        using SimulatedVcpu vcpu = Make(async cpu =>
        {
            await cpu.Write8(1, 0x11);
            await cpu.Write16(2, 0x2222);
            await cpu.Write32(3, 0x33333333);
            await cpu.Write64(4, 0x4444444444444444);
            await cpu.Out8(5, 0x55);
            await cpu.Out32(6, 0x66666666);
            Assert.Equal(0xab, await cpu.Read8(1));
            Assert.Equal(0xabab, await cpu.Read16(2));
            Assert.Equal(0xababababu, await cpu.Read32(3));
            Assert.Equal(0xababababababababu, await cpu.Read64(4));
            Assert.Equal(0xab, await cpu.In8(5));
            Assert.Equal(0xababababu, await cpu.In32(6));
        });
        for (VcpuExit exit = vcpu.Run(); exit.Kind != VcpuExitKind.Shutdown; exit = vcpu.Run())
        {
            exits.Add($"{exit.Kind} {exit.Address} {Convert.ToHexString(exit.Data)}");
            if (exit.Kind is VcpuExitKind.MmioRead or VcpuExitKind.PortRead) exit.Data.Fill(0xab);
        }
        Assert.Equal(
        [
            "MmioWrite 1 11", "MmioWrite 2 2222", "MmioWrite 3 33333333", "MmioWrite 4 4444444444444444", "PortWrite 5 55", "PortWrite 6 66666666",
            "MmioRead 1 00", "MmioRead 2 0000", "MmioRead 3 00000000", "MmioRead 4 0000000000000000", "PortRead 5 00", "PortRead 6 00000000",
        ], exits);
    }

    [Fact]
    public void A_store_that_matches_an_ioeventfd_signals_it_without_an_exit()
    {
        using EventFd first = new();
        using EventFd second = new();
        using EventFd any = new();
        _kicks.Add(0x50, 4, 0, first);
        _kicks.Add(0x50, 4, 1, second);
        _kicks.Add(0x60, 2, null, any);
        using SimulatedVcpu vcpu = Make(async cpu =>
        {
            await cpu.Write32(0x50, 1);
            await cpu.Write16(0x60, 77);
            await cpu.Write32(0x50, 2);
        });
        VcpuExit exit = vcpu.Run();
        Assert.Equal((VcpuExitKind.MmioWrite, 0x50ul, 2), (exit.Kind, exit.Address, exit.Data[0]));
        Assert.False(first.TryRead(out _));
        Assert.True(second.TryRead(out _));
        Assert.True(any.TryRead(out _));
        Assert.Equal(2, _kicks.Signals);
    }

    [Fact]
    public void An_ioeventfd_of_another_width_or_a_removed_one_does_not_match()
    {
        using EventFd kick = new();
        _kicks.Add(0x50, 4, null, kick);
        Assert.Throws<InvalidOperationException>(() => _kicks.Add(0x50, 4, 3, kick));
        using SimulatedVcpu vcpu = Make(async cpu =>
        {
            await cpu.Write16(0x50, 0);
            await cpu.Write32(0x50, 0);
        });
        Assert.Equal(2, vcpu.Run().Width);
        Assert.True(_kicks.Remove(0x50, 4, null));
        Assert.False(_kicks.Remove(0x50, 4, null));
        Assert.Equal(4, vcpu.Run().Width);
        Assert.False(kick.TryRead(out _));
    }

    [Fact]
    public void A_pending_interrupt_ends_a_halt_at_once_and_the_lowest_vector_comes_first()
    {
        List<int> taken = [];
        _interrupts.Raise(0, Vector + 1);
        _interrupts.Line(Vector).Assert();
        _interrupts.Line(Vector).Assert();
        using SimulatedVcpu vcpu = Make(async cpu =>
        {
            await cpu.Halt();
            while (cpu.TryTakeInterrupt(out int vector)) taken.Add(vector);
        });
        Assert.Equal(VcpuExitKind.Shutdown, vcpu.Run().Kind);
        Assert.Equal([Vector, Vector + 1], taken);
        Assert.Equal(2, vcpu.InterruptCount);
    }

    [Fact]
    public void CPUs_wake_each_other_from_their_halts()
    {
        const int Rounds = 2000;
        async ValueTask Play(GuestCpu cpu)
        {
            for (int round = 0; round < Rounds; round++)
            {
                if (cpu.Index == 0) cpu.SendInterrupt(1, Vector);
                do
                {
                    await cpu.Halt();
                }
                while (!cpu.TryTakeInterrupt(out _));
                if (cpu.Index == 1) cpu.SendInterrupt(0, Vector);
            }
        }

        Bus none = new();
        VcpuEnd[] ends = new VcpuEnd[2];
        using SimulatedVcpu first = Make(Play);
        using SimulatedVcpu second = Make(Play, 1);
        using VcpuThread firstThread = new(first, none, none, (_, end) => ends[0] = end);
        using VcpuThread secondThread = new(second, none, none, (_, end) => ends[1] = end);
        firstThread.Start();
        secondThread.Start();
        Assert.True(firstThread.Join(Watchdog));
        Assert.True(secondThread.Join(Watchdog));
        Assert.All(ends, end => Assert.Equal(VcpuEndReason.Shutdown, end.Reason));
    }

    [Fact]
    public void A_halted_CPU_and_a_busy_one_come_out_when_asked()
    {
        VcpuEnd[] ends = new VcpuEnd[2];
        Bus none = new();
        using SimulatedVcpu halted = Make(async cpu => await cpu.Halt());
        using SimulatedVcpu busy = Make(async cpu =>
        {
            while (true) await cpu.Pause();
        }, 1);
        using VcpuThread haltedThread = new(halted, none, none, (_, end) => ends[0] = end);
        using VcpuThread busyThread = new(busy, none, none, (_, end) => ends[1] = end);
        haltedThread.Start();
        busyThread.Start();
        haltedThread.RequestStop();
        busyThread.RequestStop();
        Assert.True(haltedThread.Join(Watchdog));
        Assert.True(busyThread.Join(Watchdog));
        Assert.All(ends, end => Assert.Equal(VcpuEndReason.Stopped, end.Reason));
    }

    [Fact]
    public void An_exit_that_is_asked_for_changes_nothing_for_the_guest()
    {
        uint loaded = 0;
        using SimulatedVcpu vcpu = Make(async cpu => loaded = await cpu.Read32(0));
        vcpu.RequestExit();
        Assert.Equal(VcpuExitKind.Interrupted, vcpu.Run().Kind);
        VcpuExit exit = vcpu.Run();
        Assert.Equal(VcpuExitKind.MmioRead, exit.Kind);
        exit.Data.Fill(1);
        vcpu.RequestExit();
        Assert.Equal(VcpuExitKind.Interrupted, vcpu.Run().Kind);
        Assert.Equal(VcpuExitKind.Shutdown, vcpu.Run().Kind);
        Assert.Equal(0x01010101u, loaded);
    }

    [Fact]
    public void A_program_that_fails_fails_its_vcpu()
    {
        using SimulatedVcpu vcpu = Make(async cpu =>
        {
            await cpu.Read8(0);
            throw new NotSupportedException("guest bug");
        });
        vcpu.Run();
        bool failed = false;
        try
        {
            vcpu.Run();
        }
        catch (NotSupportedException)
        {
            failed = true;
        }
        Assert.True(failed);
    }

    [Fact]
    public async Task A_program_that_awaits_the_host_fails_its_vcpu()
    {
        TaskCompletionSource<VcpuEnd> end = new(TaskCreationOptions.RunContinuationsAsynchronously);
        TaskCompletionSource never = new();
        using SimulatedVcpu vcpu = Make(async _ => await never.Task);
        using VcpuThread thread = new(vcpu, new Bus(), new Bus(), (_, how) => end.SetResult(how));
        thread.Start();
        VcpuEnd how = await end.Task.WaitAsync(Watchdog, TestContext.Current.CancellationToken);
        Assert.Equal(VcpuEndReason.Failed, how.Reason);
        Assert.Contains("not an instruction", how.Failure?.Message);
    }

    [Fact]
    public void Kicks_and_pending_halts_allocate_nothing()
    {
        const int Warm = 100;
        const int Counted = 10_000;
        using EventFd kick = new();
        _kicks.Add(0x50, 4, 0, kick);
        long allocated = -1;
        using SimulatedVcpu vcpu = Make(async cpu =>
        {
            long before = 0;
            for (int i = 0; i < Warm + Counted; i++)
            {
                if (i == Warm) before = GC.GetAllocatedBytesForCurrentThread();
                await cpu.Write32(0x50, 0);
                cpu.SendInterrupt(0, Vector);
                await cpu.Halt();
                cpu.TryTakeInterrupt(out _);
                await cpu.Read32(0);
            }
            allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        });
        while (vcpu.Run().Kind == VcpuExitKind.MmioRead)
        {
        }
        Assert.Equal(0, allocated);
    }

    private SimulatedVcpu Make(Func<GuestCpu, ValueTask> program, int index = 0) => new(index, null!, _interrupts, _kicks, program);
}
