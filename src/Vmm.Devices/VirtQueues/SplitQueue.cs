using System.Runtime.CompilerServices;

namespace Vmm.Devices;

/// <summary>A split virtqueue (virtio 1.2 § 2.7): descriptor table, available ring, used ring.</summary>
internal sealed class SplitQueue : VirtQueue
{
    private readonly QueueConfiguration _configuration;
    private readonly uint _mask;
    private readonly bool _eventIndex;
    private readonly bool _indirect;
    private readonly IQueueJournal? _journal;
    private GuestWindow _table, _available, _used;
    private int _region;
    /// <summary>The available index as last read: entries before it may be taken without reading it again.</summary>
    private ushort _availableEnd;
    private ushort _nextAvailable;
    private ushort _nextUsed;
    private ushort _published;

    internal SplitQueue(QueueConfiguration configuration, GuestMemory memory, IVirtioInterrupt interrupt)
        : base(configuration, memory, interrupt)
    {
        _configuration = configuration;
        _mask = (uint)configuration.Size - 1;
        _eventIndex = configuration.Has(VirtioFeatures.EventIndex);
        _indirect = configuration.Has(VirtioFeatures.IndirectDescriptors);
        _journal = configuration.Journal;
        _nextAvailable = _availableEnd = configuration.AvailBase ?? 0;
        _nextUsed = _published = configuration.UsedBase ?? _nextAvailable;
    }

    public override ushort AvailBase => _nextAvailable;

    public override ushort UsedBase => _nextUsed;

    private ulong UsedEventOffset => RingLayout.EntriesOffset + (ulong)Size * RingLayout.AvailableEntryLength;

    private ulong AvailableEventOffset => RingLayout.EntriesOffset + (ulong)Size * RingLayout.UsedEntryLength;

    internal override void DisableKicks()
    {
        // With EVENT_IDX the position that asks for a kick is one the driver has passed: nothing to do.
        if (!_eventIndex) _used.Store16(RingLayout.FlagsOffset, RingLayout.NoNotify);
    }

    internal override bool EnableKicks()
    {
        if (_eventIndex) _used.Store16(AvailableEventOffset, _nextAvailable);
        else _used.Store16(RingLayout.FlagsOffset, 0);
        // The driver stores its index, then reads what we stored; we in the opposite order. Without the fence both could miss (§ 2.7.10.1).
        Interlocked.MemoryBarrier();
        return HasAvailable;
    }

    internal override bool HasAvailable => _journal is { Retaken: > 0 } || _available.Load16(RingLayout.IndexOffset) != _nextAvailable;

    private protected override GuestFault ResolveRings(MemoryMap map)
    {
        if (!GuestWindow.TryResolve(map, _configuration.DescriptorTable, RingLayout.TableLength(Size), 16, out GuestWindow table)
            || !GuestWindow.TryResolve(map, _configuration.DriverRing, RingLayout.DriverLength(_configuration),
                2, out GuestWindow available)
            || !GuestWindow.TryResolve(map, _configuration.DeviceRing, RingLayout.DeviceLength(_configuration), 4, out GuestWindow used))
        {
            return QueueFaults.Outside;
        }
        (_table, _available, _used) = (table, available, used);
        return default;
    }

    private protected override void ForgetRings() => (_table, _available, _used) = (default, default, default);

    private protected override DescriptorChain? TakeAvailable()
    {
        if (_journal is { Retaken: > 0 }) return Retake(_journal);
        if (_nextAvailable == _availableEnd && !SeesMore()) return null;
        ushort head = _available.Load16(RingLayout.EntriesOffset + (_nextAvailable & _mask) * RingLayout.AvailableEntryLength);
        if (head >= Size)
        {
            Refuse(QueueFaults.Head);
            return null;
        }
        if (Take(head) is not { } chain) return null;
        chain.IsRetaken = false;
        if (_journal is not null)
        {
            _journal.Taking();
            chain.LogEntry = _journal.Taken(head);
        }
        _nextAvailable++;
        return chain;
    }

    private protected override void UndoTake(DescriptorChain chain)
    {
        if (chain.IsRetaken)
        {
            _journal!.PutBack(chain.LogEntry);
            return;
        }
        _nextAvailable--;
        _journal?.NotTaken(chain.LogEntry);
    }

    private protected override void WriteUsed(DescriptorChain chain, uint written)
    {
        ulong entry = RingLayout.EntriesOffset + (_nextUsed & _mask) * RingLayout.UsedEntryLength;
        _used.Store32(entry, chain.Id);
        _used.Store32(entry + 4, written);
        _nextUsed++;
        _journal?.GivenBack(chain.LogEntry);
    }

    private protected override bool PublishUsed()
    {
        ushort before = _published, after = _nextUsed;
        if (before == after) return false;
        _published = after;
        _journal?.Publishing(after);
        _used.Store16(RingLayout.IndexOffset, after);
        _journal?.Published(after);
        if (Memory.DirtyTracker is { } tracker) tracker.Mark(_configuration.DeviceRing, _used.Length);
        // The driver asks for an interrupt, then looks at the index; we in the opposite order (§ 2.7.7.2).
        Interlocked.MemoryBarrier();
        return _eventIndex
            ? Passed(_available.Load16(UsedEventOffset), before, after)
            : (_available.Load16(RingLayout.FlagsOffset) & RingLayout.NoNotify) == 0;
    }

    /// <summary>Whether an index moved past an event index (§ 2.7.10: vring_need_event).</summary>
    internal static bool Passed(ushort eventIndex, ushort before, ushort after) =>
        (ushort)(after - eventIndex - 1) < (ushort)(after - before);

    /// <summary>A chain that a process before this one had taken: the ring still has it.</summary>
    private DescriptorChain? Retake(IQueueJournal journal)
    {
        ushort head = journal.Retake().Name;
        if (Take(head) is not { } chain) return null;
        chain.IsRetaken = true;
        chain.LogEntry = journal.Taken(head);
        return chain;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private DescriptorChain? Take(ushort head)
    {
        DescriptorChain chain = Rent();
        Descriptor first = Descriptor.Load(_table, head);
        ushort flags = first.SplitFlags;
        bool isFilled = (flags & (RingLayout.FlagNext | RingLayout.FlagIndirect)) == 0
            && chain.TryFillWithOne(Held.Map, ref _region, first.Address, first.Length, (flags & RingLayout.FlagWrite) != 0);
        if (!isFilled && !TryWalk(chain, first))
        {
            Return(chain);
            return null;
        }
        return TryClaim(chain, head) ? chain : null;
    }

    /// <summary>Reads the available index again.</summary>
    private bool SeesMore()
    {
        ushort end = _available.Load16(RingLayout.IndexOffset);
        if (end == _nextAvailable) return false;
        if ((ushort)(end - _nextAvailable) > Size)
        {
            Fault(QueueFaults.Available);
            return false;
        }
        _availableEnd = end;
        return true;
    }

    /// <summary>
    /// Follows a chain through the table and at most one indirect table. The bound on descriptors is what ends a loop: a chain has no
    /// memory of where it has been.
    /// </summary>
    private bool TryWalk(DescriptorChain chain, Descriptor descriptor)
    {
        ChainWalk walk = new(chain, Held.Map, _region);
        GuestWindow table = _table;
        uint size = Size;
        for (int left = Math.Min((int)size, ChainDescriptorsMax); left > 0; left--)
        {
            if ((descriptor.SplitFlags & RingLayout.FlagIndirect) != 0) return TryWalkTable(walk, descriptor);
            if (!walk.TryAdd(descriptor.Address, descriptor.Length, (descriptor.SplitFlags & RingLayout.FlagWrite) != 0)) return false;
            if ((descriptor.SplitFlags & RingLayout.FlagNext) == 0) return walk.Finish(out _region);
            uint index = descriptor.Next;
            if (index >= size) return Refuse(QueueFaults.Next);
            // One more than the bound is read, and not looked at.
            descriptor = Descriptor.Load(table, index);
        }
        return Refuse(QueueFaults.Length);
    }

    /// <summary>Follows the rest of a chain through the table that it goes on in.</summary>
    private bool TryWalkTable(ChainWalk walk, Descriptor descriptor)
    {
        if (!TryFindTable(descriptor, descriptor.SplitFlags, _indirect, out GuestWindow found, out uint entries)) return false;
        GuestWindow table = found;
        uint index = 0;
        // Linux fills a table up to the segments a device allows, however short the ring is (QEMU's queue-size=64).
        for (int left = ChainDescriptorsMax; left > 0; left--)
        {
            Descriptor entry = Descriptor.Load(table, index);
            if ((entry.SplitFlags & RingLayout.FlagIndirect) != 0) return Refuse(QueueFaults.Nested);
            if (!walk.TryAdd(entry.Address, entry.Length, (entry.SplitFlags & RingLayout.FlagWrite) != 0)) return false;
            if ((entry.SplitFlags & RingLayout.FlagNext) == 0) return walk.Finish(out _region);
            index = entry.Next;
            if (index >= entries) return Refuse(QueueFaults.Next);
        }
        return Refuse(QueueFaults.Length);
    }
}
