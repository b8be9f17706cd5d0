namespace Vmm.Events;

/// <summary>
/// Room of the size of a cache line, between fields that different threads write. The collector aligns objects to 8 bytes only: where
/// a structure has to be in one line as a whole, its place is chosen in a pinned array.
/// </summary>
[InlineArray(Bytes)]
internal struct CacheLine
{
    internal const int Bytes = 64;

    private byte _first;

    /// <summary>Elements of a pinned array in which <see cref="IndexOfWhole"/> finds one with nothing else in its line.</summary>
    internal static int RoomFor<T>() => (3 * Bytes / Unsafe.SizeOf<T>()) + 8;

    /// <summary>
    /// An element that lies in one line as a whole, with the array's own elements around it; a larger one begins as near to the start of
    /// a line as the array has one.
    /// </summary>
    /// <param name="pinned">Of <see cref="RoomFor"/> elements, used for nothing else.</param>
    internal static unsafe int IndexOfWhole<T>(T[] pinned)
    {
        int size = Unsafe.SizeOf<T>();
        int first = (Bytes + size - 1) / size;
        int best = first;
        for (int i = first; i < pinned.Length - first; i++)
        {
            if (OffsetOf(i) <= Math.Max(0, Bytes - size)) return i;
            if (OffsetOf(i) < OffsetOf(best)) best = i;
        }
        return best;

        // SAFETY: the array is pinned, and the address is a number here that is not kept.
        int OffsetOf(int index) => (int)((nuint)Unsafe.AsPointer(ref pinned[index]) % Bytes);
    }
}
