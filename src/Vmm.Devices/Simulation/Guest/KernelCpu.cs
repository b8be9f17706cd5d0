using System.Runtime.CompilerServices;

namespace Vmm.Devices.Simulation;

/// <summary>
/// The kernel on one CPU: its instructions, its piece of memory, and its wait for interrupts. Interrupts are taken at waits only.
/// </summary>
internal sealed class KernelCpu(GuestKernel kernel, GuestCpu cpu)
{
    private Func<KernelCpu, ValueTask>? _job;

    internal GuestKernel Kernel => kernel;

    internal GuestCpu Cpu => cpu;

    internal int Index => cpu.Index;

    /// <summary>Hands the CPU something to do. From another CPU, which then interrupts it.</summary>
    internal void GiveJob(Func<KernelCpu, ValueTask> job) => Volatile.Write(ref _job, job);

    internal Func<KernelCpu, ValueTask>? TakeJob() => Interlocked.Exchange(ref _job, null);

    /// <summary>Halts until there was an interrupt, and handles what is pending.</summary>
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    internal async ValueTask WaitForInterrupt()
    {
        await cpu.Halt();
        await HandleInterrupts();
    }

    /// <summary>Handles what is pending, without a wait, and lets the host have the CPU if it wants it.</summary>
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    internal async ValueTask Yield()
    {
        await cpu.Pause();
        await HandleInterrupts();
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    private async ValueTask HandleInterrupts()
    {
        while (cpu.TryTakeInterrupt(out int vector))
        {
            if (kernel.HandlerOf(vector) is { } handler) await handler(this);
        }
    }
}
