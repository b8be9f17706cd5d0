using System.Runtime.CompilerServices;

namespace Vmm.Devices;

/// <summary>
/// One state of guest memory: regions sorted by guest address, none overlapping. Never changes; a memory swaps it as a whole. Counted: the
/// memory that has it in force holds it, and so does everyone who has host addresses from it.
/// </summary>
internal sealed unsafe class MemoryMap
{
    private readonly GuestRegion[] _regions;
    private readonly Extent[] _extents;
    private int _references = 1;

    /// <summary>The hot part of a region.</summary>
    private readonly struct Extent(ulong start, ulong length, nint host)
    {
        internal readonly ulong Start = start;
        internal readonly ulong Length = length;
        internal readonly nint Host = host;
    }

    /// <param name="sorted">By guest address, without overlap.</param>
    internal MemoryMap(GuestRegion[] sorted)
    {
        _regions = sorted;
        _extents = new Extent[sorted.Length];
        for (int i = 0; i < sorted.Length; i++)
        {
            sorted[i].Hold();
            _extents[i] = new Extent(sorted[i].GuestAddress, sorted[i].Length, sorted[i].HostAddress);
        }
    }

    internal ReadOnlySpan<GuestRegion> Regions => _regions;

    internal GuestRegion[] RegionArray => _regions;

    /// <summary>Takes a reference, unless the last one is gone.</summary>
    internal bool TryHold()
    {
        int references = Volatile.Read(ref _references);
        while (references > 0)
        {
            int seen = Interlocked.CompareExchange(ref _references, references + 1, references);
            if (seen == references) return true;
            references = seen;
        }
        return false;
    }

    internal void Release()
    {
        if (Interlocked.Decrement(ref _references) != 0) return;
        foreach (GuestRegion region in _regions) region.Release();
    }

    /// <summary>The host address of a guest address, and how many bytes follow it in the same region.</summary>
    /// <param name="address">Guest-physical.</param>
    /// <param name="hint">Region to try first; set to the one found. Any value is allowed.</param>
    /// <param name="available">Bytes from the address to the end of its region.</param>
    /// <returns>0 if the address is in no region.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal nint Translate(ulong address, ref int hint, out ulong available)
    {
        Extent[] extents = _extents;
        if ((uint)hint < (uint)extents.Length)
        {
            ref readonly Extent extent = ref extents[hint];
            ulong offset = address - extent.Start;
            if (offset < extent.Length)
            {
                available = extent.Length - offset;
                return extent.Host + (nint)offset;
            }
        }
        int found = Search(address);
        if (found < 0)
        {
            available = 0;
            return 0;
        }
        hint = found;
        available = extents[found].Length - (address - extents[found].Start);
        return extents[found].Host + (nint)(address - extents[found].Start);
    }

    /// <summary>The host address of a range that lies in one region; 0 if it does not.</summary>
    internal nint TranslateRange(ulong address, ulong length)
    {
        int hint = 0;
        nint host = Translate(address, ref hint, out ulong available);
        return host != 0 && length <= available ? host : 0;
    }

    /// <summary>A span over a range that lies in one region.</summary>
    internal bool TryGetSpan(ulong address, uint length, out Span<byte> span)
    {
        span = default;
        if (length > int.MaxValue) return false;
        nint host = TranslateRange(address, length);
        if (host == 0) return false;
        // SAFETY: the range was checked against its region, which this map keeps mapped; the caller keeps the map.
        span = new Span<byte>((void*)host, (int)length);
        return true;
    }

    /// <summary>Whether every byte of a range is in some region.</summary>
    internal bool Contains(ulong address, ulong length)
    {
        int hint = 0;
        while (length > 0)
        {
            if (Translate(address, ref hint, out ulong available) == 0) return false;
            if (length <= available) return true;
            length -= available;
            address += available;
        }
        return true;
    }

    /// <summary>The region that an address lies in; below 0 if it is in none.</summary>
    private int Search(ulong address)
    {
        int low = 0, high = _extents.Length - 1;
        while (low <= high)
        {
            int middle = (low + high) >>> 1;
            ref readonly Extent extent = ref _extents[middle];
            if (address < extent.Start)
            {
                high = middle - 1;
            }
            else if (address - extent.Start >= extent.Length)
            {
                low = middle + 1;
            }
            else
            {
                return middle;
            }
        }
        return -1;
    }
}
