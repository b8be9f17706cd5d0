using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vmm.Events.Native;

/// <summary>
/// A thread, known by where its stack lies: whose locals are there runs on it. To look is a compare, while the thread's number is a look into
/// thread-local storage, which costs more than the rest of a wake-up. Asked from all threads, so it shares a cache line with nothing that changes.
/// </summary>
/// <remarks>
/// Stacks go to later threads, in whole or in parts. A thread that ends without giving its stack back is known no more all the same: its
/// <see cref="StackPlace"/> is emptied before the stack is free. Signals' alternate stacks lie elsewhere, and no managed code runs there.
/// </remarks>
[StructLayout(LayoutKind.Explicit, Size = 2 * CacheLine)]
internal sealed unsafe class ThreadStack
{
    private const int CacheLine = 64;

    [FieldOffset(CacheLine)]
    private nint _range = StackPlace.Nowhere.Range;

    /// <summary>Kept as long as this: somebody may look at the place of a thread that has given it back.</summary>
    [FieldOffset(CacheLine + 8)]
    private StackPlace _place = StackPlace.Nowhere;

    /// <summary>It is the calling thread's from now on, until the same one gives it back or ends. Done once: who looks meanwhile sees nobody's stack or this one.</summary>
    internal void Claim()
    {
        _place = StackPlace.OfCallingThread;
        Volatile.Write(ref _range, _place.Range);
    }

    /// <summary>It is no thread's any more.</summary>
    internal void GiveBack() => Volatile.Write(ref _range, StackPlace.Nowhere.Range);

    /// <summary>Whether the calling thread is that one. False also where the C library does not say where its stack lies.</summary>
    internal bool IsMine
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get
        {
            byte here;
            StackRange* range = (StackRange*)_range;
            // SAFETY: the address of a local is compared, never used. The range stays where it is while its place is held.
            bool isMine = (nuint)(&here) - range->Lowest < range->Bytes;
            GC.KeepAlive(this);
            return isMine;
        }
    }
}
