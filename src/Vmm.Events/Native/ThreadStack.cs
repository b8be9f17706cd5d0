using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vmm.Events.Native;

/// <summary>
/// A thread, known by where its stack lies: whose locals are there runs on it. To look is a compare, while the thread's number is a look into
/// thread-local storage, which costs more than the rest of a wake-up. Asked from all threads, so it shares a cache line with nothing that changes.
/// Threads that come later lie on the stacks of those that have ended: who claims it gives it back before that.
/// </summary>
[StructLayout(LayoutKind.Explicit, Size = 2 * CacheLine)]
internal sealed unsafe class ThreadStack
{
    private const int CacheLine = 64;

    [FieldOffset(CacheLine)]
    private nuint _lowest;

    [FieldOffset(CacheLine + 8)]
    private nuint _bytes;

    /// <summary>It is the calling thread's from now on, until the same one gives it back. Done once: who looks meanwhile sees no thread's stack or this one.</summary>
    internal void Claim()
    {
        Libc.StackOfCallingThread(out _lowest, out nuint bytes);
        Volatile.Write(ref _bytes, bytes);
    }

    /// <summary>It is no thread's any more.</summary>
    internal void GiveBack() => Volatile.Write(ref _bytes, 0);

    /// <summary>Whether the calling thread is that one. False also where the C library does not say where its stack lies.</summary>
    internal bool IsMine
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get
        {
            byte here;
            // SAFETY: the address of a local is compared, never used.
            return (nuint)(&here) - _lowest < _bytes;
        }
    }
}
