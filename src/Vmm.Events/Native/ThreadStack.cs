using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vmm.Events.Native;

/// <summary>
/// A thread, known by where its stack lies: whose locals are there runs on it. To look is a compare, while the thread's number is a look into
/// thread-local storage, which costs more than the rest of a wake-up. Asked from all threads, so it shares a cache line with nothing that changes.
/// A later thread on the stack of one that has ended may be taken for it: what only that one touched is then nobody else's.
/// </summary>
[StructLayout(LayoutKind.Explicit, Size = 2 * CacheLine)]
internal sealed unsafe class ThreadStack
{
    private const int CacheLine = 64;

    [FieldOffset(CacheLine)]
    private nuint _lowest;

    [FieldOffset(CacheLine + 8)]
    private nuint _bytes;

    /// <summary>It is the calling thread's from now on. Done once: who looks meanwhile sees no thread's stack or this one.</summary>
    internal void Claim()
    {
        Libc.StackOfCallingThread(out _lowest, out nuint bytes);
        Volatile.Write(ref _bytes, bytes);
    }

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
