namespace Vmm.Devices.Simulation;

/// <summary>The driver's side of a packed virtqueue (virtio 1.2 § 2.8).</summary>
internal sealed class PackedDriverQueue : DriverQueue
{
    private readonly ushort[] _freeIds;
    private readonly ushort[] _lengths;
    private int _idsFree;
    private int _free;
    private PackedPosition _nextAvailable = new PackedPosition(PackedPosition.StartBits);
    private PackedPosition _nextUsed = new PackedPosition(PackedPosition.StartBits);
    /// <summary>The first chain since the last publish: the flags of its head are written last, and hide all that follow.</summary>
    private PackedPosition _batchStart;
    private ushort _batchFlags;
    private int _batchDescriptors;

    internal PackedDriverQueue(GuestMemory memory, GuestAllocator allocator, ushort size, ulong features)
        : base(memory, allocator, size, features)
    {
        _freeIds = new ushort[size];
        _lengths = new ushort[size];
        for (int i = 0; i < size; i++) _freeIds[i] = (ushort)(size - 1 - i);
        _idsFree = _free = size;
    }

    internal override int Free => _free;

    internal override bool HasUsed => _nextUsed.IsUsed(Table.Load16(_nextUsed.FlagsOffset));

    /// <summary>Raw: where the next chain goes: ring position in bits 0 to 14, wrap counter in bit 15.</summary>
    public ushort NextAvailable => _nextAvailable.Bits;

    /// <summary>Raw: the flags that make the entry at <see cref="NextAvailable"/> available.</summary>
    public ushort AvailableFlags => _nextAvailable.AvailableFlags;

    /// <summary>
    /// Raw: the driver's event suppression: position and wrap counter in bits 0 to 15, flags above (0 always, 1 never, 2 at the position).
    /// </summary>
    public uint DriverEvent
    {
        get => Driver.Load32(0);
        set => Driver.Store32(0, value);
    }

    /// <summary>Raw: the device's event suppression, in the same form.</summary>
    public uint DeviceEvent => Device.Load32(0);

    /// <summary>Raw: writes an entry of the ring, flags as given.</summary>
    public void WriteDescriptor(int index, ulong address, uint length, ushort id, ushort flags) =>
        Store(Table, index, address, length, id, flags);

    internal override bool Publish()
    {
        int descriptors = _batchDescriptors;
        if (descriptors == 0) return false;
        _batchDescriptors = 0;
        Table.Store16(_batchStart.FlagsOffset, _batchFlags);
        // The device asks for kicks, then looks at the flags; the driver in the opposite order.
        Interlocked.MemoryBarrier();
        return PackedPosition.WantsEvent(DeviceEvent, HasEventIndex, _nextAvailable, descriptors, Size);
    }

    internal override bool TryCollect(out UsedChain used)
    {
        ulong tail = Table.Load64((ulong)_nextUsed.Index * RingLayout.DescriptorLength + 8);
        Descriptor entry = new(0, tail);
        used = default;
        if (!_nextUsed.IsUsed(entry.PackedFlags)) return false;
        ushort id = entry.BufferId;
        if (id >= Size || _lengths[id] == 0) throw new InvalidDataException($"the device gave back chain {id}, which it does not have");
        used = new UsedChain(id, (entry.PackedFlags & RingLayout.FlagWrite) != 0 ? entry.Length : 0);
        _nextUsed = _nextUsed.Advance(_lengths[id], Size);
        _free += _lengths[id];
        _lengths[id] = 0;
        _freeIds[_idsFree++] = id;
        InFlight--;
        return true;
    }

    internal override void DisableInterrupts() => DriverEvent = (uint)RingLayout.EventDisable << 16;

    internal override bool EnableInterrupts()
    {
        DriverEvent = HasEventIndex ? _nextUsed.Bits | ((uint)RingLayout.EventAtPosition << 16) : 0;
        // As in Publish, seen from the used side.
        Interlocked.MemoryBarrier();
        return HasUsed;
    }

    private protected override ushort AddDirect(ReadOnlySpan<GuestBuffer> readable, ReadOnlySpan<GuestBuffer> writable)
    {
        int count = readable.Length + writable.Length;
        ushort id = TakeId(count);
        PackedPosition position = _nextAvailable;
        for (int i = 0; i < count; i++)
        {
            GuestBuffer buffer = i < readable.Length ? readable[i] : writable[i - readable.Length];
            ushort flags = (ushort)((i < readable.Length ? 0 : RingLayout.FlagWrite) | (i == count - 1 ? 0 : RingLayout.FlagNext));
            Write(position, buffer, id, flags, isHead: i == 0);
            position = position.Advance(1, Size);
        }
        MoveTo(position, count);
        return id;
    }

    private protected override ushort AddIndirect(ReadOnlySpan<GuestBuffer> readable, ReadOnlySpan<GuestBuffer> writable)
    {
        int count = readable.Length + writable.Length;
        ushort id = TakeId(1);
        GuestWindow table = IndirectTable(id, count, out ulong address);
        for (int i = 0; i < count; i++)
        {
            GuestBuffer buffer = i < readable.Length ? readable[i] : writable[i - readable.Length];
            Store(table, i, buffer.Address, buffer.Length, 0, i < readable.Length ? (ushort)0 : RingLayout.FlagWrite);
        }
        Write(_nextAvailable, new GuestBuffer(address, (uint)count * RingLayout.DescriptorLength),
            id, RingLayout.FlagIndirect, isHead: true);
        MoveTo(_nextAvailable.Advance(1, Size), 1);
        return id;
    }

    private ushort TakeId(int descriptors)
    {
        ushort id = _freeIds[--_idsFree];
        _lengths[id] = (ushort)descriptors;
        _free -= descriptors;
        return id;
    }

    /// <summary>Writes an entry; the flags of a batch's first head wait for the publish.</summary>
    private void Write(PackedPosition position, GuestBuffer buffer, ushort id, ushort flags, bool isHead)
    {
        flags |= position.AvailableFlags;
        if (isHead && _batchDescriptors == 0)
        {
            ulong offset = (ulong)position.Index * RingLayout.DescriptorLength;
            Table.Store64(offset, buffer.Address);
            Table.Store32(offset + 8, buffer.Length);
            Table.Store16(offset + 12, id);
            (_batchStart, _batchFlags) = (position, flags);
            return;
        }
        Store(Table, position.Index, buffer.Address, buffer.Length, id, flags);
    }

    private void MoveTo(PackedPosition position, int descriptors)
    {
        _nextAvailable = position;
        _batchDescriptors += descriptors;
    }

    private static void Store(GuestWindow table, int index, ulong address, uint length, ushort id, ushort flags)
    {
        ulong offset = (ulong)index * RingLayout.DescriptorLength;
        table.Store64(offset, address);
        table.Store64(offset + 8, length | ((ulong)id << 32) | ((ulong)flags << 48));
    }
}
