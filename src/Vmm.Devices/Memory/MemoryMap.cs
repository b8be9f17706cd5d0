namespace Vmm.Devices;

/// <summary>
/// One state of guest memory: regions sorted by guest address, none overlapping. Never changes; a memory swaps it as a whole. Counted: the
/// memory that has it in force holds it, and so does everyone who has host addresses from it.
/// </summary>
internal sealed unsafe class MemoryMap
{
    private readonly GuestRegion[] _regions;
    private readonly GuestExtent[] _extents;
    private int _references = 1;

    /// <param name="sorted">By guest address, without overlap.</param>
    internal MemoryMap(GuestRegion[] sorted)
    {
        _regions = sorted;
        _extents = new GuestExtent[sorted.Length];
        for (int i = 0; i < sorted.Length; i++)
        {
            sorted[i].Hold();
            _extents[i] = new GuestExtent(sorted[i].GuestAddress, sorted[i].Length, sorted[i].HostAddress);
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

    /// <summary>The region that a guest address lies in; one without bytes if it lies in none.</summary>
    internal GuestExtent Find(ulong address)
    {
        int found = Search(address);
        return found < 0 ? default : _extents[found];
    }

    /// <summary>
    /// The host address of a guest address, 0 if it is in no region, and how many bytes there are up to the end of that region.
    /// </summary>
    internal nint Translate(ulong address, out ulong available)
    {
        GuestExtent extent = Find(address);
        available = extent.Length == 0 ? 0 : extent.Length - (address - extent.Start);
        return available == 0 ? 0 : extent.HostOf(address);
    }

    /// <summary>The host address of a range that lies in one region; 0 if it does not.</summary>
    internal nint TranslateRange(ulong address, ulong length)
    {
        nint host = Translate(address, out ulong available);
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
        while (length > 0)
        {
            if (Translate(address, out ulong available) == 0) return false;
            if (length <= available) return true;
            length -= available;
            address += available;
        }
        return true;
    }

    /// <summary>The region that an address lies in; below 0 if it is in none.</summary>
    internal int Search(ulong address)
    {
        int low = 0, high = _extents.Length - 1;
        while (low <= high)
        {
            int middle = (low + high) >>> 1;
            ref readonly GuestExtent extent = ref _extents[middle];
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
