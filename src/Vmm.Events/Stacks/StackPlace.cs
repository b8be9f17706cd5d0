using System.Collections.Concurrent;

namespace Vmm.Events;

/// <summary>
/// Where one thread records the range of its stack. No managed code runs between the end of a thread and the reuse of its stack, but the C
/// library runs a destructor of its own there, which empties the record.
/// </summary>
internal sealed unsafe class StackPlace
{
    /// <summary>
    /// The main thread's stack may be unlimited and then reaches, to those who ask, down to what is mapped there by now. The kernel leaves
    /// at least 128 MiB below its top to it. Who is deeper down is not recognised.
    /// </summary>
    internal const nuint BytesMax = 64 << 20;

    /// <summary>
    /// Ranges that are free for reuse. A thread that is still clearing a range when it is reused empties it too early, which costs speed
    /// only.
    /// </summary>
    private static readonly ConcurrentBag<nint> Unused = [];

    [ThreadStatic]
    private static StackPlace? _mine;

    private static int _rangesMade;

    private StackPlace()
    {
        if (!Unused.TryTake(out nint range))
        {
            Interlocked.Increment(ref _rangesMade);
            range = (nint)NativeMemory.AlignedAlloc((nuint)sizeof(StackRange), CacheLine.Bytes);
            // SAFETY: allocated above, with just that size.
            NativeMemory.Clear((void*)range, (nuint)sizeof(StackRange));
        }
        Range = range;
    }

    /// <summary>An empty range: no thread's stack lies in it.</summary>
    internal static StackPlace Nowhere { get; } = new();

    /// <summary>
    /// The calling thread's; <see cref="Nowhere"/> if the C library does not say where its stack lies, or cannot empty it.
    /// </summary>
    internal static StackPlace OfCallingThread => _mine ??= Find();

    /// <summary>Ranges allocated so far: as many as threads that had one at a time, and some.</summary>
    internal static int RangesMade => Volatile.Read(ref _rangesMade);

    /// <summary>A <see cref="StackRange"/>.</summary>
    internal nint Range { get; }

    private static StackPlace Find()
    {
        Libc.StackOfCallingThread(out nuint lowest, out nuint bytes);
        if (bytes == 0) return Nowhere;
        StackPlace place = new();
        StackRange* range = (StackRange*)place.Range;
        // SAFETY: only this thread writes to its range, and the C library for it when it ends; the finalizer keeps the range until then.
        if (!Libc.EmptyAtEndOfThread(range)) return Nowhere;
        nuint known = Math.Min(bytes, BytesMax);
        range->Lowest = lowest + (bytes - known);
        Volatile.Write(ref range->Bytes, known);
        return place;
    }

    ~StackPlace()
    {
        // SAFETY: a range is never freed.
        if (((StackRange*)Range)->Bytes == 0) Unused.Add(Range);
        // No object refers to it and it was not emptied yet: its thread is about to end.
        else GC.ReRegisterForFinalize(this);
    }
}
