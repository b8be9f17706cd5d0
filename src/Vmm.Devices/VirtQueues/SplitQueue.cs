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

    private protected override DescriptorChain? Pop() => MayPop() ? Took(TakeAvailable()) : null;

    /// <inheritdoc/>
    public override void Push(DescriptorChain chain, uint written)
    {
        BeginPush(chain, written);
        WriteUsed(chain, written);
        Land(chain);
    }

    /// <summary>The next available chain, walked; null if there is none or it was a fault.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private DescriptorChain? TakeAvailable()
    {
        if (_journal is { Retaken: > 0 }) return Retake(_journal);
        if (_nextAvailable == _availableEnd && !SeesMore()) return null;
        ushort head = _available.Load16(RingLayout.EntriesOffset + (_nextAvailable & _mask) * RingLayout.AvailableEntryLength);
        if (Take(head) is not { } chain) return null;
        if (_journal is not null) Log(_journal, chain);
        _nextAvailable++;
        return chain;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Log(IQueueJournal journal, DescriptorChain chain)
    {
        journal.Taking();
        chain.LogEntry = journal.Taken(chain.Id);
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

    /// <summary>Writes a used entry, not visible to the driver yet.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void WriteUsed(DescriptorChain chain, uint written)
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

    /// <summary>The chain that begins with a descriptor, walked and in flight; null if it was a fault.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private DescriptorChain? Take(ushort head)
    {
        if (head >= Size)
        {
            Refuse(QueueFaults.Head);
            return null;
        }
        DescriptorChain chain = Rent();
        chain.Id = head;
        Descriptor first = Descriptor.Load(_table, head);
        uint flags = first.SplitFlags;
        bool isFilled = (flags & (RingLayout.FlagNext | RingLayout.FlagIndirect)) == 0
            && chain.TryFillWithOne(Near, first.Address, first.Length, (flags & RingLayout.FlagWrite) != 0);
        if (isFilled || TryWalk(chain, first)) return Claim(chain);
        ReturnUnclaimed(chain);
        return null;
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
    [MethodImpl(MethodImplOptions.NoInlining)]
    private bool TryWalk(DescriptorChain chain, Descriptor descriptor)
    {
        ChainWalk walk = new(chain, Near);
        GuestWindow table = _table;
        uint entries = Size;
        bool isInTable = false;
        for (int left = Math.Min((int)entries, ChainDescriptorsMax); left > 0; left--)
        {
            uint flags = descriptor.SplitFlags;
            if ((flags & RingLayout.FlagIndirect) != 0)
            {
                if (isInTable) return Refuse(QueueFaults.Nested);
                table = FindTable(descriptor, descriptor.SplitFlags, _indirect);
                if (table.Length == 0) return false;
                (entries, isInTable) = ((uint)(table.Length / RingLayout.DescriptorLength), true);
                // Linux fills a table up to the segments a device allows, however short the ring is (QEMU's queue-size=64). This descriptor
                // is none of the table's.
                left = ChainDescriptorsMax + 1;
                descriptor = Descriptor.Load(table, 0);
                continue;
            }
            if (!walk.TryAdd(descriptor.Address, descriptor.Length, flags & RingLayout.FlagWrite)) return false;
            if ((flags & RingLayout.FlagNext) == 0) return walk.Finish();
            uint index = descriptor.Next;
            if (index >= entries) return Refuse(QueueFaults.Next);
            // One more than the bound is read, and not looked at.
            descriptor = Descriptor.Load(table, index);
        }
        return Refuse(QueueFaults.Length);
    }
}
