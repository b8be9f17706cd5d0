namespace Vmm.Devices;

/// <summary>A split virtqueue (virtio 1.2 § 2.7): descriptor table, available ring, used ring.</summary>
internal sealed class SplitQueue : VirtQueue
{
    private readonly uint _mask;
    private readonly bool _eventIndex;
    private readonly bool _indirect;
    private GuestWindow _table, _available, _used;
    /// <summary>The available index as last read: entries before it may be taken without reading it again.</summary>
    private ushort _availableEnd;
    private ushort _nextAvailable;
    private ushort _nextUsed;
    private ushort _published;

    internal SplitQueue(QueueConfiguration configuration, GuestMemory memory, IVirtioInterrupt interrupt)
        : base(configuration, memory, interrupt)
    {
        _mask = (uint)configuration.Size - 1;
        _eventIndex = configuration.Has(VirtioFeatures.EventIndex);
        _indirect = configuration.Has(VirtioFeatures.IndirectDescriptors);
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

    internal override bool HasAvailable => Journal is { Retaken: > 0 } || _available.Load16(RingLayout.IndexOffset) != _nextAvailable;

    private protected override GuestFault ResolveRings(MemoryMap map)
    {
        if (!GuestWindow.TryResolve(map, Configuration.DescriptorTable, RingLayout.TableLength(Size), 16, out GuestWindow table)
            || !GuestWindow.TryResolve(map, Configuration.DriverRing, RingLayout.DriverLength(Configuration),
                2, out GuestWindow available)
            || !GuestWindow.TryResolve(map, Configuration.DeviceRing, RingLayout.DeviceLength(Configuration), 4, out GuestWindow used))
        {
            return QueueFaults.Outside;
        }
        (_table, _available, _used) = (table, available, used);
        return default;
    }

    private protected override void ForgetRings() => (_table, _available, _used) = (default, default, default);

    private protected override DescriptorChain? Pop()
    {
        ushort next = _nextAvailable;
        if (next == _availableEnd || !IsUsual()) return PopUnusual();
        ushort head = HeadAt(next);
        if (head >= Size) return PopUnusual();
        Descriptor first = Descriptor.Load(_table, head);
        DescriptorChain chain = NextRented;
        if (!TryFill(chain, first)) return PopWalked(head, first);
        if (!TryTakeUsual(chain, head)) return PopUnusual();
        _nextAvailable = (ushort)(next + 1);
        return chain;
    }

    /// <summary>The rest of a pop, for a chain that may be of several buffers.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private DescriptorChain? PopWalked(ushort head, Descriptor first)
    {
        DescriptorChain? chain = Take(head, first);
        if (chain is not null) _nextAvailable++;
        return Took(chain);
    }

    /// <summary>Fills a chain of one buffer; false, and nothing is done, if it may be more.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool TryFill(DescriptorChain chain, Descriptor only) =>
        (only.SplitFlags & (RingLayout.FlagNext | RingLayout.FlagIndirect)) == 0
        && chain.TryFillWithOne(Near, only.Address, only.Length, (only.SplitFlags & RingLayout.FlagWrite) != 0);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private ushort HeadAt(ushort position) =>
        _available.Load16(RingLayout.EntriesOffset + (position & _mask) * RingLayout.AvailableEntryLength);

    public override void Push(DescriptorChain chain, uint written)
    {
        if (!TryBeginUsualPush(chain, written))
        {
            PushUnusual(chain, written);
            return;
        }
        WriteUsed(chain, written);
        Land(chain);
    }

    private protected override DescriptorChain? TakeAvailable()
    {
        if (Journal is { Retaken: > 0 }) return Retake(Journal);
        if (_nextAvailable == _availableEnd && !SeesMore()) return null;
        if (Take(HeadAt(_nextAvailable)) is not { } chain) return null;
        if (Journal is not null) Log(Journal, chain);
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
            Journal!.PutBack(chain.LogEntry);
            return;
        }
        _nextAvailable--;
        Journal?.NotTaken(chain.LogEntry);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private protected override void WriteUsed(DescriptorChain chain, uint written)
    {
        ulong entry = RingLayout.EntriesOffset + (_nextUsed & _mask) * RingLayout.UsedEntryLength;
        _used.Store32(entry, chain.Id);
        _used.Store32(entry + 4, written);
        _nextUsed++;
    }

    private protected override bool PublishUsed()
    {
        ushort before = _published, after = _nextUsed;
        if (before == after) return false;
        _published = after;
        Journal?.Publishing(after);
        _used.Store16(RingLayout.IndexOffset, after);
        Journal?.Published(after);
        if (Memory.DirtyTracker is { } tracker) tracker.Mark(Configuration.DeviceRing, _used.Length);
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
        return Take(head, Descriptor.Load(_table, head));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private DescriptorChain? Take(ushort head, Descriptor first)
    {
        DescriptorChain chain = Rent();
        chain.Id = head;
        if (TryFill(chain, first) || TryWalk(chain, first)) return Claim(chain);
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

    /// <summary>Follows a chain through the table and at most one indirect table, which it ends with.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool TryWalk(DescriptorChain chain, Descriptor first) =>
        ChainWalk.FollowUsual<SplitOrder>(chain, first, _table, Size, chain.Id) != 0 || TryWalkUnusual(chain, first);

    [MethodImpl(MethodImplOptions.NoInlining)]
    private bool TryWalkUnusual(DescriptorChain chain, Descriptor first)
    {
        ChainWalk walk = new(chain, first);
        WalkEnd end = walk.Follow<SplitOrder>(_table, Size, chain.Id, Math.Min((int)Size, ChainDescriptorsMax));
        if (end == WalkEnd.AtTable)
        {
            GuestWindow table = FindTable(walk.Next, walk.Next.SplitFlags, _indirect);
            if (table.Length == 0) return false;
            uint entries = (uint)(table.Length / RingLayout.DescriptorLength);
            bool isAllOfChain = walk.Walked == 1;
            walk.Next = Descriptor.Load(table, 0);
            if (isAllOfChain && ChainWalk.FollowUsual<SplitOrder>(chain, walk.Next, table, entries, 0) != 0) return true;
            // Linux fills a table up to the segments a device allows, however short the ring is (QEMU's queue-size=64).
            end = walk.Follow<SplitOrder>(table, entries, 0, ChainDescriptorsMax);
            if (end == WalkEnd.AtTable) return Refuse(QueueFaults.Nested);
        }
        return end == WalkEnd.Complete && walk.Finish();
    }
}
