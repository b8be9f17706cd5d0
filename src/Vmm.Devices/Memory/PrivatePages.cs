namespace Vmm.Devices;

/// <summary>
/// The pages of a private mapping of a file that have something else behind them. Those that were given back: advice would bring the file's
/// bytes back (MADV_DONTNEED, madvise(2)), and the guest must find zeros, so memory without a file is mapped over them. And those that are
/// in the file of a differential snapshot. Thread-safe.
/// </summary>
internal sealed unsafe class PrivatePages(nint address, ulong length)
{
    private const int PageShift = DirtyPages.Shift;

    /// <summary>Most mappings that this makes of one: a quarter of what the kernel allows a process (vm.max_map_count).</summary>
    internal const int MappingsMax = 16384;

    /// <summary>Shortest run of pages of another file that is worth a mapping; a shorter one is read.</summary>
    private const ulong MappedBytesMin = 64 << 10;

    private readonly Lock _lock = new();
    private readonly ulong[] _replaced = DirtyPages.None(length), _ofOther = DirtyPages.None(length);
    private int _mappings = 1;

    /// <summary>
    /// Puts pages of another file, where the mapping would begin at an offset, in the place of those there, which nothing has touched.
    /// </summary>
    /// <exception cref="KernelException">The host refuses.</exception>
    internal void Overlay(OwnedFd file, ulong fileOffset, ulong[] pages)
    {
        foreach ((ulong start, ulong bytes) in DirtyPages.Runs(pages, length))
        {
            DirtyPages.Mark(_ofOther, start, bytes);
            if (bytes >= MappedBytesMin && _mappings + 2 <= MappingsMax
                && MappedMemory.TryMapOver(address + (nint)start, (nuint)bytes, file, (long)(fileOffset + start)))
            {
                _mappings += 2;
                continue;
            }
            for (ulong at = start; at < start + bytes; at += MappedBytesMin)
            {
                // SAFETY: the pages are inside the mapping, which its region keeps while this is used.
                Span<byte> room = new((byte*)address + at, (int)Math.Min(MappedBytesMin, start + bytes - at));
                if (SnapshotCalls.Read(file, room, (long)(fileOffset + at), out Errno error) < room.Length)
                    throw new KernelException($"cannot read {room.Length} bytes of saved memory", error);
            }
        }
    }

    /// <summary>Makes the set of pages that may have data in the file the set of those that may have any.</summary>
    internal void Correct(Span<ulong> pages)
    {
        for (int i = 0; i < pages.Length; i++) pages[i] = (pages[i] | _ofOther[i]) & ~Volatile.Read(ref _replaced[i]);
    }

    /// <summary>Adds the pages that were given back to a set.</summary>
    internal void AddReplaced(Span<ulong> pages)
    {
        for (int i = 0; i < pages.Length; i++) pages[i] |= Volatile.Read(ref _replaced[i]);
    }

    /// <summary>Makes whole pages read as zeros. They take no memory, unless that would take too many mappings.</summary>
    /// <returns>False if the kernel refuses.</returns>
    internal bool TryClear(ulong offset, ulong bytes)
    {
        lock (_lock)
        {
            ulong end = (offset + bytes) >> PageShift;
            for (ulong first = offset >> PageShift, next; first < end; first = next)
            {
                bool replaced = IsSet(first);
                for (next = first + 1; next < end && IsSet(next) == replaced;) next++;
                nint start = address + (nint)(first << PageShift);
                nuint count = (nuint)((next - first) << PageShift);
                if (replaced)
                {
                    if (MemoryCalls.Advise(start, count, MemoryCalls.MADV_DONTNEED) != 0) return false;
                }
                else if (!TryReplace(start, count, first, next))
                {
                    // SAFETY: the pages are inside the mapping, which its region keeps while this is used.
                    for (nuint done = 0; done < count; done += 1 << PageShift) new Span<byte>((byte*)start + done, 1 << PageShift).Clear();
                }
            }
            return true;
        }
    }

    private bool TryReplace(nint start, nuint count, ulong first, ulong next)
    {
        bool joinsBelow = first > 0 && IsSet(first - 1), joinsAbove = next < length >> PageShift && IsSet(next);
        int more = (joinsBelow ? -1 : 1) + (joinsAbove ? -1 : 1);
        if (_mappings + more > MappingsMax || !MappedMemory.TryMapZeros(start, count)) return false;
        _mappings += more;
        for (ulong page = first; page < next; page++) _replaced[page / 64] |= 1UL << (int)(page % 64);
        return true;
    }

    private bool IsSet(ulong page) => DirtyPages.Has(_replaced, page);
}
