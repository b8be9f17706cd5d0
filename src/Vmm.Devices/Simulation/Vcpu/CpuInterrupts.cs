using System.Numerics;

namespace Vmm.Devices.Simulation;

/// <summary>What is pending for one CPU, and its sleep.</summary>
internal sealed class CpuInterrupts : IDisposable
{
    private readonly ManualResetEventSlim _wake = new();
    private ulong _pending;
    private long _raised;

    internal bool HasPending => Volatile.Read(ref _pending) != 0;

    /// <summary>Vectors raised so far that were not pending before.</summary>
    internal long Raised => Volatile.Read(ref _raised);

    internal void Raise(int vector)
    {
        ulong bit = 1UL << vector;
        if ((Interlocked.Or(ref _pending, bit) & bit) != 0) return;
        Interlocked.Increment(ref _raised);
        _wake.Set();
    }

    /// <summary>Takes the lowest pending vector. On the CPU's own thread.</summary>
    internal bool TryTake(out int vector)
    {
        ulong pending = Volatile.Read(ref _pending);
        vector = BitOperations.TrailingZeroCount(pending);
        if (pending == 0) return false;
        Interlocked.And(ref _pending, ~(1UL << vector));
        return true;
    }

    /// <summary>Sleeps until something is raised, or <see cref="Wake"/>; may also come back for nothing. On the CPU's own thread.</summary>
    /// <param name="isWoken">Asked once more after the sleep was announced: true if whatever <see cref="Wake"/> is called for has
    /// happened.</param>
    internal void Sleep(Func<bool> isWoken)
    {
        _wake.Reset();
        if (HasPending || isWoken()) return;
        _wake.Wait();
    }

    internal void Wake() => _wake.Set();

    public void Dispose() => _wake.Dispose();
}
