using System.Diagnostics.CodeAnalysis;

namespace Vmm.Devices;

/// <summary>
/// The guest's physical memory: regions over mapped memfds. The only access to guest bytes; every range is checked against the regions.
/// Thread-safe. Regions may be added and removed while devices run: a caller that still holds an earlier state keeps its regions mapped.
/// </summary>
public sealed class GuestMemory : IDisposable
{
    /// <summary>Most regions at once: what vhost-user front-ends ask for with memory hot-plug.</summary>
    public const int RegionsMax = 512;

    private readonly Lock _swap = new();
    private MemoryMap _map = new([]);
    private bool _disposed;

    /// <summary>One region of fresh memory at guest-physical address 0.</summary>
    /// <param name="bytes">A multiple of 4096.</param>
    /// <exception cref="KernelException">The host has not enough memory or descriptors.</exception>
    public static GuestMemory Create(ulong bytes)
    {
        GuestMemory memory = new();
        memory.TryAdd(GuestRegion.Create(0, bytes), out _);
        return memory;
    }

    /// <summary>The regions in force, by guest address.</summary>
    public IReadOnlyList<GuestRegion> Regions => Map.RegionArray;

    /// <summary>What devices mark the pages in that they write; null for nothing.</summary>
    internal IDirtyTracker? DirtyTracker
    {
        get => Volatile.Read(ref field);
        set => Volatile.Write(ref field, value);
    }

    /// <summary>What is asked before a device writes; null for nothing. It is set while no device runs.</summary>
    internal IBeforeWrite? BeforeWrite
    {
        get => Volatile.Read(ref field);
        set => Volatile.Write(ref field, value);
    }

    /// <summary>The state in force. Hold it before taking host addresses from it.</summary>
    internal MemoryMap Map => Volatile.Read(ref _map);

    /// <summary>Adds a region and takes it over.</summary>
    /// <param name="region">Stays the caller's if it is refused.</param>
    /// <param name="refusal">A sentence that says why not.</param>
    public bool TryAdd(GuestRegion region, [NotNullWhen(false)] out string? refusal)
    {
        ArgumentNullException.ThrowIfNull(region);
        lock (_swap) return TrySwap([.. _map.RegionArray, region], out refusal);
    }

    /// <summary>Removes the region at a guest address. It is unmapped when no caller holds a state that contains it.</summary>
    /// <returns>False if no region starts there.</returns>
    public bool Remove(ulong guestAddress)
    {
        lock (_swap)
        {
            GuestRegion? gone = Array.Find(_map.RegionArray, region => region.GuestAddress == guestAddress);
            if (gone is null) return false;
            TrySwap(Array.FindAll(_map.RegionArray, region => region != gone), out _);
            gone.Release();
            return true;
        }
    }

    /// <summary>Puts other regions in the place of all there are, as one step, and takes them over. One may be in both.</summary>
    /// <param name="regions">Stay the caller's if they are refused.</param>
    /// <param name="refusal">A sentence that says why not.</param>
    public bool TryReplace(IReadOnlyCollection<GuestRegion> regions, [NotNullWhen(false)] out string? refusal)
    {
        ArgumentNullException.ThrowIfNull(regions);
        lock (_swap)
        {
            GuestRegion[] before = _map.RegionArray;
            if (!TrySwap([.. regions], out refusal)) return false;
            foreach (GuestRegion gone in before.Except(regions)) gone.Release();
            return true;
        }
    }

    /// <summary>Keeps the state in force mapped until the hold is disposed.</summary>
    public MemoryHold Hold() => new(HoldMap());

    /// <summary>
    /// A span over guest bytes that lie in one region. Valid for the turn, and only where no other thread can remove the region meanwhile;
    /// else take it from a <see cref="Hold"/> or from a chain.
    /// </summary>
    /// <returns>False if any byte of the range is outside of that region, or the range wraps.</returns>
    public bool TryGetSpan(ulong address, uint length, out Span<byte> span) => Map.TryGetSpan(address, length, out span);

    /// <summary>Whether every byte of a range is in some region.</summary>
    public bool Contains(ulong address, ulong length) => Map.Contains(address, length);

    /// <summary>Copies guest bytes out, across regions that follow each other.</summary>
    /// <returns>False, and nothing read, if any byte of the range is in no region.</returns>
    public bool TryRead(ulong address, Span<byte> destination)
    {
        MemoryMap map = HoldMap();
        bool inside = map.Contains(address, (ulong)destination.Length);
        for (int done = 0; inside && done < destination.Length;)
        {
            Span<byte> piece = Piece(map, address + (ulong)done, destination.Length - done);
            piece.CopyTo(destination[done..]);
            done += piece.Length;
        }
        map.Release();
        return inside;
    }

    /// <summary>Copies bytes into the guest, across regions that follow each other, and marks their pages as written.</summary>
    /// <returns>False, and nothing written, if any byte of the range is in no region.</returns>
    public bool TryWrite(ulong address, ReadOnlySpan<byte> source)
    {
        MemoryMap map = HoldMap();
        bool inside = map.Contains(address, (ulong)source.Length);
        if (inside) BeforeWrite?.Keep(address, (ulong)source.Length);
        for (int done = 0; inside && done < source.Length;)
        {
            Span<byte> piece = Piece(map, address + (ulong)done, source.Length - done);
            source.Slice(done, piece.Length).CopyTo(piece);
            done += piece.Length;
        }
        map.Release();
        if (inside) DirtyTracker?.Mark(address, (ulong)source.Length);
        return inside;
    }

    /// <summary>
    /// Gives pages back to the host: they read as zeros and take no memory until they are written again (MADV_REMOVE, madvise(2);
    /// restored memory is mapped anew). Only whole pages go; a part of one at either end stays as it is.
    /// </summary>
    /// <returns>False if any byte of the range is in no region, or if the host's file can't do it.</returns>
    public bool TryDiscard(ulong address, ulong length)
    {
        MemoryMap map = HoldMap();
        bool done = map.Contains(address, length);
        if (done) BeforeWrite?.Keep(address, length);
        (ulong first, ulong all) = (address, length);
        while (done && length > 0)
        {
            nint host = map.Translate(address, out ulong available);
            ulong piece = Math.Min(length, available);
            done = map.Regions[map.Search(address)].TryDiscard(host, piece);
            address += piece;
            length -= piece;
        }
        map.Release();
        // Zeros are content too.
        DirtyTracker?.Mark(first, all - length);
        return done;
    }

    /// <summary>Removes every region.</summary>
    public void Dispose()
    {
        if (_disposed) return;
        _disposed = true;
        TryReplace([], out _);
    }

    private MemoryMap HoldMap()
    {
        while (true)
        {
            MemoryMap map = Map;
            if (map.TryHold()) return map;
        }
    }

    /// <summary>Call under the lock.</summary>
    private bool TrySwap(GuestRegion[] regions, [NotNullWhen(false)] out string? refusal)
    {
        Array.Sort(regions, static (a, b) => a.GuestAddress.CompareTo(b.GuestAddress));
        refusal = regions.Length > RegionsMax ? $"more than {RegionsMax} memory regions" : Overlap(regions);
        if (refusal is not null) return false;
        MemoryMap before = _map;
        Volatile.Write(ref _map, new MemoryMap(regions));
        before.Release();
        return true;
    }

    private static string? Overlap(GuestRegion[] sorted)
    {
        for (int i = 1; i < sorted.Length; i++)
        {
            GuestRegion below = sorted[i - 1], above = sorted[i];
            if (above.GuestAddress - below.GuestAddress < below.Length)
                return $"memory regions overlap: 0x{above.GuestAddress:x} lies in the one at 0x{below.GuestAddress:x}";
        }
        return null;
    }

    private static Span<byte> Piece(MemoryMap map, ulong address, int length)
    {
        map.Translate(address, out ulong available);
        map.TryGetSpan(address, (uint)Math.Min((ulong)length, available), out Span<byte> piece);
        return piece;
    }
}
