using System.Runtime.CompilerServices;

namespace Vmm.Devices.Simulation;

/// <summary>A store, a halt or a pause. Await it at once, once.</summary>
internal readonly struct GuestStore : ICriticalNotifyCompletion
{
    private readonly GuestCpu _cpu;

    internal GuestStore(GuestCpu cpu, bool completed)
    {
        _cpu = cpu;
        IsCompleted = completed;
    }

    /// <summary>Whether the CPU did it by itself.</summary>
    public bool IsCompleted { get; }

    /// <summary>For the compiler.</summary>
    public GuestStore GetAwaiter() => this;

    /// <summary>The instruction is done.</summary>
    public void GetResult() => _cpu.Finish();

    public void OnCompleted(Action continuation) => _cpu.Suspend(continuation);

    public void UnsafeOnCompleted(Action continuation) => _cpu.Suspend(continuation);
}
