namespace Vmm.Devices.Simulation;

/// <summary>The driver's side of a split virtqueue (virtio 1.2 § 2.7).</summary>
internal sealed class SplitDriverQueue : DriverQueue
{
    private const ushort None = ushort.MaxValue;

    /// <summary>
    /// Free descriptors and the descriptors of chains are linked here, not in the table: the device could have scribbled there.
    /// </summary>
    private readonly ushort[] _next;
    private readonly ushort[] _lengths;
    private readonly uint _mask;
    private ushort _firstFree;
    private int _free;
    private ushort _nextAvailable;
    private ushort _published;
    private ushort _nextUsed;

    internal SplitDriverQueue(GuestMemory memory, GuestAllocator allocator, ushort size, ulong features)
        : base(memory, allocator, size, features)
    {
        _mask = (uint)size - 1;
        _next = new ushort[size];
        _lengths = new ushort[size];
        for (int i = 0; i < size; i++) _next[i] = (ushort)(i + 1);
        _next[size - 1] = None;
        _free = size;
    }

    internal override int Free => _free;

    internal override bool HasUsed => UsedIndex != _nextUsed;

    /// <summary>Raw: flags of the available ring (1 = no interrupt).</summary>
    public ushort AvailableFlags
    {
        get => Driver.Load16(RingLayout.FlagsOffset);
        set => Driver.Store16(RingLayout.FlagsOffset, value);
    }

    /// <summary>Raw: the available index as the device sees it.</summary>
    public ushort AvailableIndex
    {
        get => Driver.Load16(RingLayout.IndexOffset);
        set => Driver.Store16(RingLayout.IndexOffset, value);
    }

    /// <summary>Raw: the used index at which the driver wants an interrupt. Only with EVENT_IDX.</summary>
    public ushort UsedEvent
    {
        get => Driver.Load16(RingLayout.EntriesOffset + (ulong)Size * RingLayout.AvailableEntryLength);
        set => Driver.Store16(RingLayout.EntriesOffset + (ulong)Size * RingLayout.AvailableEntryLength, value);
    }

    /// <summary>Raw: flags of the used ring (1 = no kick).</summary>
    public ushort UsedFlags => Device.Load16(RingLayout.FlagsOffset);

    /// <summary>Raw: the used index the device published.</summary>
    public ushort UsedIndex => Device.Load16(RingLayout.IndexOffset);

    /// <summary>Raw: the available index at which the device wants a kick. Only with EVENT_IDX.</summary>
    public ushort AvailableEvent => Device.Load16(RingLayout.EntriesOffset + (ulong)Size * RingLayout.UsedEntryLength);

    /// <summary>Starts a fresh ring at other indexes than 0, as a driver that was migrated does.</summary>
    public void StartAt(ushort index)
    {
        _nextAvailable = _published = _nextUsed = index;
        AvailableIndex = index;
        Device.Store16(RingLayout.IndexOffset, index);
        if (HasEventIndex) UsedEvent = index;
    }

    /// <summary>Raw: writes an entry of the descriptor table.</summary>
    public void WriteDescriptor(int index, ulong address, uint length, ushort flags, ushort next) =>
        Store(Table, index, address, length, flags, next);

    /// <summary>Raw: writes an entry of the available ring.</summary>
    /// <param name="position">Any available index; taken modulo the queue size.</param>
    /// <param name="head">A descriptor number.</param>
    public void WriteAvailable(int position, ushort head) =>
        Driver.Store16(RingLayout.EntriesOffset + ((uint)position & _mask) * RingLayout.AvailableEntryLength, head);

    /// <summary>Raw: makes a head available and publishes, whatever it names.</summary>
    public void MakeAvailable(ushort head)
    {
        WriteAvailable(_nextAvailable, head);
        _published = ++_nextAvailable;
        AvailableIndex = _published;
    }

    internal override bool Publish()
    {
        ushort before = _published, after = _nextAvailable;
        if (before == after) return false;
        _published = after;
        AvailableIndex = after;
        // The device asks for kicks, then looks at the index; the driver in the opposite order (§ 2.7.13.4.1).
        Interlocked.MemoryBarrier();
        return HasEventIndex ? SplitQueue.Passed(AvailableEvent, before, after) : (UsedFlags & RingLayout.NoNotify) == 0;
    }

    internal override bool TryCollect(out UsedChain used)
    {
        used = default;
        if (!HasUsed) return false;
        ulong entry = RingLayout.EntriesOffset + (_nextUsed & _mask) * RingLayout.UsedEntryLength;
        uint id = Device.Load32(entry);
        if (id >= Size || _lengths[id] == 0) throw new InvalidDataException($"the device gave back chain {id}, which it does not have");
        used = new UsedChain((ushort)id, Device.Load32(entry + 4));
        _nextUsed++;
        Release((ushort)id);
        return true;
    }

    internal override void DisableInterrupts()
    {
        if (HasEventIndex) UsedEvent = (ushort)(_nextUsed - 1);
        else AvailableFlags = RingLayout.NoNotify;
    }

    internal override bool EnableInterrupts()
    {
        if (HasEventIndex) UsedEvent = _nextUsed;
        else AvailableFlags = 0;
        // As in Publish, seen from the used ring.
        Interlocked.MemoryBarrier();
        return HasUsed;
    }

    private protected override ushort AddDirect(ReadOnlySpan<GuestBuffer> readable, ReadOnlySpan<GuestBuffer> writable)
    {
        int count = readable.Length + writable.Length;
        ushort head = _firstFree, index = head;
        for (int i = 0; i < count; i++)
        {
            bool last = i == count - 1;
            GuestBuffer buffer = i < readable.Length ? readable[i] : writable[i - readable.Length];
            ushort flags = (ushort)((i < readable.Length ? 0 : RingLayout.FlagWrite) | (last ? 0 : RingLayout.FlagNext));
            Store(Table, index, buffer.Address, buffer.Length, flags, last ? (ushort)0 : _next[index]);
            if (!last) index = _next[index];
        }
        Take(head, index, count);
        return head;
    }

    private protected override ushort AddIndirect(ReadOnlySpan<GuestBuffer> readable, ReadOnlySpan<GuestBuffer> writable)
    {
        int count = readable.Length + writable.Length;
        ushort head = _firstFree;
        GuestWindow table = IndirectTable(head, count, out ulong address);
        for (int i = 0; i < count; i++)
        {
            bool last = i == count - 1;
            GuestBuffer buffer = i < readable.Length ? readable[i] : writable[i - readable.Length];
            ushort flags = (ushort)((i < readable.Length ? 0 : RingLayout.FlagWrite) | (last ? 0 : RingLayout.FlagNext));
            Store(table, i, buffer.Address, buffer.Length, flags, last ? (ushort)0 : (ushort)(i + 1));
        }
        Store(Table, head, address, (uint)count * RingLayout.DescriptorLength, RingLayout.FlagIndirect, 0);
        Take(head, head, 1);
        return head;
    }

    /// <summary>
    /// Takes the first descriptors off the free list, up to and with the last one of the chain, and makes the chain available.
    /// </summary>
    private void Take(ushort head, ushort last, int count)
    {
        _firstFree = _next[last];
        _next[last] = None;
        _free -= count;
        _lengths[head] = (ushort)count;
        WriteAvailable(_nextAvailable++, head);
    }

    private void Release(ushort head)
    {
        ushort last = head;
        while (_next[last] != None) last = _next[last];
        _next[last] = _firstFree;
        _firstFree = head;
        _free += _lengths[head];
        _lengths[head] = 0;
        InFlight--;
    }

    private static void Store(GuestWindow table, int index, ulong address, uint length, ushort flags, ushort next)
    {
        ulong offset = (ulong)index * RingLayout.DescriptorLength;
        table.Store64(offset, address);
        table.Store64(offset + 8, length | ((ulong)flags << 32) | ((ulong)next << 48));
    }
}
