using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vmm.Devices.Simulation;

/// <summary>A load that the host answers. Await it at once, once.</summary>
/// <typeparam name="T">An unsigned integer of 1, 2, 4 or 8 bytes.</typeparam>
internal readonly struct GuestLoad<T> : ICriticalNotifyCompletion where T : unmanaged
{
    private readonly GuestCpu _cpu;

    internal GuestLoad(GuestCpu cpu) => _cpu = cpu;

    /// <summary>Never: the host answers.</summary>
    public bool IsCompleted => false;

    /// <summary>For the compiler.</summary>
    public GuestLoad<T> GetAwaiter() => this;

    /// <summary>The value loaded.</summary>
    public T GetResult()
    {
        ulong loaded = _cpu.Loaded;
        return MemoryMarshal.Cast<ulong, T>(new ReadOnlySpan<ulong>(in loaded))[0];
    }

    public void OnCompleted(Action continuation) => _cpu.Suspend(continuation);

    public void UnsafeOnCompleted(Action continuation) => _cpu.Suspend(continuation);
}
