namespace Vmm.Devices;

/// <summary>
/// An address space of devices: one for memory-mapped ones, one for ports. Accesses are answered on vCPU threads, several at once, without
/// a lock: a change publishes a new sorted table.
/// </summary>
/// <param name="name">For messages: <c>mmio</c>, <c>port</c>.</param>
public sealed class Bus(string name = "mmio")
{
    private readonly Lock _changes = new();
    private Mapping[] _mappings = [];
    private long _misses;

    /// <summary>For messages.</summary>
    public string Name { get; } = name;

    /// <summary>Accesses that no device answered.</summary>
    public long Misses => Volatile.Read(ref _misses);

    /// <summary>Maps a device at a range. Any thread.</summary>
    /// <param name="start">The range's first address.</param>
    /// <param name="length">Its length, at least 1; it must not wrap.</param>
    /// <param name="device">Who answers there.</param>
    /// <exception cref="ArgumentException">The range is empty or wraps.</exception>
    /// <exception cref="InvalidOperationException">It overlaps another one.</exception>
    public void Add(ulong start, ulong length, IBusDevice device)
    {
        ArgumentNullException.ThrowIfNull(device);
        Mapping added = new(start, unchecked(start + length - 1), device);
        if (length == 0 || added.Last < start)
            throw new ArgumentException(
                $"the {Name} range at 0x{start:x} with a length of 0x{length:x} is empty or wraps: "
                + "a range ends within 64 bits", nameof(length));
        lock (_changes)
        {
            int at = IndexAtOrBelow(_mappings, start);
            if (at >= 0 && _mappings[at].Last >= start) throw Overlap(added, _mappings[at]);
            if (at + 1 < _mappings.Length && _mappings[at + 1].Start <= added.Last) throw Overlap(added, _mappings[at + 1]);
            Mapping[] more = new Mapping[_mappings.Length + 1];
            Array.Copy(_mappings, more, at + 1);
            more[at + 1] = added;
            Array.Copy(_mappings, at + 1, more, at + 2, _mappings.Length - at - 1);
            Volatile.Write(ref _mappings, more);
        }
    }

    /// <summary>Unmaps the device whose range starts here. An access that has begun may still reach it. Any thread.</summary>
    /// <returns>False if no range starts here.</returns>
    public bool Remove(ulong start)
    {
        lock (_changes)
        {
            int at = IndexAtOrBelow(_mappings, start);
            if (at < 0 || _mappings[at].Start != start) return false;
            Volatile.Write(ref _mappings, [.. _mappings.AsSpan(0, at), .. _mappings.AsSpan(at + 1)]);
            return true;
        }
    }

    /// <summary>Reads. An access that is not wholly within one device's range reaches none: every bit is 1, counted.</summary>
    /// <param name="address">Of the first byte.</param>
    /// <param name="data">The bytes to fill, little-endian.</param>
    /// <returns>Whether a device answered.</returns>
    public bool Read(ulong address, Span<byte> data)
    {
        if (TryFind(address, data.Length, out Mapping mapping))
        {
            mapping.Device.Read(address - mapping.Start, data);
            return true;
        }
        data.Fill(0xff);
        Interlocked.Increment(ref _misses);
        return false;
    }

    /// <summary>Writes. An access that is not wholly within one device's range is dropped, counted.</summary>
    /// <param name="address">Of the first byte.</param>
    /// <param name="data">The bytes, little-endian.</param>
    /// <returns>Whether a device took it.</returns>
    public bool Write(ulong address, ReadOnlySpan<byte> data)
    {
        if (TryFind(address, data.Length, out Mapping mapping))
        {
            mapping.Device.Write(address - mapping.Start, data);
            return true;
        }
        Interlocked.Increment(ref _misses);
        return false;
    }

    private bool TryFind(ulong address, int length, out Mapping mapping)
    {
        Mapping[] mappings = Volatile.Read(ref _mappings);
        int at = IndexAtOrBelow(mappings, address);
        mapping = at < 0 ? default : mappings[at];
        // Compared as room that is left, so that an access at the top of the address space can't wrap.
        return at >= 0 && address <= mapping.Last && (ulong)length - 1 <= mapping.Last - address;
    }

    /// <summary>The last range that starts at or below an address; -1 if none does.</summary>
    private static int IndexAtOrBelow(Mapping[] mappings, ulong address)
    {
        int low = 0;
        int high = mappings.Length;
        while (low < high)
        {
            int middle = (low + high) >>> 1;
            if (mappings[middle].Start <= address) low = middle + 1; else high = middle;
        }
        return low - 1;
    }

    private InvalidOperationException Overlap(Mapping added, Mapping there) => new(
        $"the {Name} range {added} overlaps {there}: give one of them another address");

    private readonly record struct Mapping(ulong Start, ulong Last, IBusDevice Device)
    {
        public override string ToString() => $"0x{Start:x}-0x{Last:x} of {Device}";
    }
}
