using Vmm.Devices.Native;

namespace Vmm.Devices;

/// <summary>
/// The pages of a private mapping of a file that were given back: advice would bring the file's bytes back (MADV_DONTNEED, madvise(2)), and
/// the guest must find zeros. So memory without a file is mapped over them. Thread-safe.
/// </summary>
/// <param name="address">Of the mapping.</param>
/// <param name="length">Of the mapping, whole pages.</param>
internal sealed unsafe class PrivatePages(nint address, ulong length)
{
    private const int PageShift = 12;

    /// <summary>Most mappings that this makes of one: a quarter of what the kernel allows a process (vm.max_map_count).</summary>
    internal const int MappingsMax = 16384;

    private readonly Lock _lock = new();
    private readonly ulong[] _replaced = new ulong[((length >> PageShift) + 63) / 64];
    private int _mappings = 1;

    /// <summary>Whether the page at an offset has no file behind it any more.</summary>
    internal bool IsReplaced(ulong offset) => IsSet(offset >> PageShift);

    /// <summary>Makes pages read as zeros. They take no memory, unless that would take too many mappings.</summary>
    /// <param name="offset">Of the first, in the mapping.</param>
    /// <param name="bytes">Whole pages.</param>
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

    private bool IsSet(ulong page) => (Volatile.Read(ref _replaced[page / 64]) >> (int)(page % 64) & 1) != 0;
}
