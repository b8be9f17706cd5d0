namespace Vmm.Events;

/// <summary>
/// Identifies a thread by the range of its stack: code whose locals lie in the range runs on that thread. The test is one compare, while
/// the number of the thread is in thread-local storage, which costs more than the rest of a wake-up. All threads read it, so it shares a
/// cache line with nothing that changes.
/// </summary>
/// <remarks>
/// Stacks go to later threads, in whole or in parts. A thread that ends without giving its stack back is known no more all the same: its
/// <see cref="StackPlace"/> is emptied before the stack is free. Signals' alternate stacks lie elsewhere, and no managed code runs there.
/// </remarks>
[StructLayout(LayoutKind.Explicit, Size = 2 * CacheLine.Bytes)]
internal sealed unsafe class ThreadStack
{
    [FieldOffset(CacheLine.Bytes)]
    private nint _range = StackPlace.Nowhere.Range;

    /// <summary>Kept as long as this object: another thread may still read the range of a thread that has given it back.</summary>
    [FieldOffset(CacheLine.Bytes + 8)]
    private StackPlace _place = StackPlace.Nowhere;

    /// <summary>
    /// Records the calling thread, until it gives the record back or ends. Done once: a concurrent reader sees an empty range or this one.
    /// </summary>
    internal void Claim()
    {
        _place = StackPlace.OfCallingThread;
        Volatile.Write(ref _range, _place.Range);
    }

    /// <summary>Forgets the thread.</summary>
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
