namespace Vmm.Devices;

/// <summary>
/// A packed virtqueue (virtio 1.2 § 2.8): one ring of descriptors that both sides write, and two event suppression structures.
/// </summary>
internal sealed class PackedQueue : VirtQueue
{
    private readonly bool _eventIndex;
    private readonly bool _indirect;
    private bool _hasStaleFlags;
    private GuestWindow _ring, _driverEvent, _deviceEvent;
    private PackedPosition _nextAvailable;
    private PackedPosition _nextUsed;
    /// <summary>Ring descriptors popped and not visibly given back: the driver can't have reused them.</summary>
    private int _taken;
    /// <summary>
    /// The first used entry since the last publish. Its flags are written last: the driver sees none after it before them.
    /// </summary>
    private PackedPosition _batchStart;
    private ushort _batchFlags;
    private int _batchDescriptors;

    internal PackedQueue(QueueConfiguration configuration, GuestMemory memory, IVirtioInterrupt interrupt)
        : base(configuration, memory, interrupt)
    {
        _eventIndex = configuration.Has(VirtioFeatures.EventIndex);
        _indirect = configuration.Has(VirtioFeatures.IndirectDescriptors);
        _taken = Journal?.RetakenDescriptors ?? 0;
        _hasStaleFlags = _taken > 0;
        _nextAvailable = new PackedPosition(configuration.AvailBase ?? PackedPosition.StartBits);
        _nextUsed = configuration.UsedBase is { } used ? new PackedPosition(used) : _nextAvailable;
    }

    public override ushort AvailBase => _nextAvailable.Bits;

    public override ushort UsedBase => _nextUsed.Bits;

    internal override void DisableKicks() => _deviceEvent.Store32(0, (uint)RingLayout.EventDisable << 16);

    internal override bool EnableKicks()
    {
        // Position and flags as one store: the driver must not pair the flags with an older position (§ 2.8.14).
        _deviceEvent.Store32(0, _eventIndex ? _nextAvailable.Bits | ((uint)RingLayout.EventAtPosition << 16) : 0);
        // The driver makes a descriptor available, then reads what we stored; we in the opposite order.
        Interlocked.MemoryBarrier();
        return HasAvailable;
    }

    internal override bool HasAvailable =>
        Journal is { Retaken: > 0 } || _nextAvailable.IsAvailable(_ring.Load16(_nextAvailable.FlagsOffset));

    private protected override GuestFault ResolveRings(MemoryMap map)
    {
        if (!GuestWindow.TryResolve(map, Configuration.DescriptorTable, RingLayout.TableLength(Size), 16, out GuestWindow ring)
            || !GuestWindow.TryResolve(map, Configuration.DriverRing, RingLayout.EventLength, 4, out GuestWindow driverEvent)
            || !GuestWindow.TryResolve(map, Configuration.DeviceRing, RingLayout.EventLength, 4, out GuestWindow deviceEvent))
        {
            return QueueFaults.Outside;
        }
        (_ring, _driverEvent, _deviceEvent) = (ring, driverEvent, deviceEvent);
        return default;
    }

    private protected override void ForgetRings() => (_ring, _driverEvent, _deviceEvent) = (default, default, default);

    private protected override DescriptorChain? Pop()
    {
        if (!IsUsual()) return PopUnusual();
        PackedPosition next = _nextAvailable;
        // Flags, id and length come with one load, and before the address: the driver writes the flags of a chain's head last.
        Descriptor head = Descriptor.Load(_ring, next.Index);
        uint flags = head.PackedFlags;
        if (!next.IsAvailable(head.PackedFlags))
        {
            HasRunDry = true;
            return null;
        }
        DescriptorChain chain = NextRented;
        if ((flags & (RingLayout.FlagNext | RingLayout.FlagIndirect)) != 0 || _taken >= Size
            || !chain.TryFillWithOne(Near, head.Address, head.Length, (flags & RingLayout.FlagWrite) != 0))
        {
            return PopWalked(head);
        }
        if (!TryTakeUsual(chain, head.BufferId)) return PopUnusual();
        chain.RingDescriptors = 1;
        _taken++;
        _nextAvailable = next.Advance(1, Size);
        return chain;
    }

    /// <summary>The rest of a pop, for a chain that may be of several buffers.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private DescriptorChain? PopWalked(Descriptor head) => Took(Take(head));

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
        if (Journal is not null) return TakeLogged(Journal);
        Descriptor head = Descriptor.Load(_ring, _nextAvailable.Index);
        return _nextAvailable.IsAvailable(head.PackedFlags) ? Take(head) : null;
    }

    /// <summary>The chain that begins with a descriptor, walked and in flight; null if it was a fault.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private DescriptorChain? Take(Descriptor head)
    {
        DescriptorChain chain = Rent();
        if (!TryWalk(chain, head))
        {
            ReturnUnclaimed(chain);
            return null;
        }
        if (Claim(chain) is null) return null;
        _taken += chain.RingDescriptors;
        _nextAvailable = _nextAvailable.Advance(chain.RingDescriptors, Size);
        return chain;
    }

    /// <summary>As <see cref="TakeAvailable"/>, and notes the chain in a log.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private DescriptorChain? TakeLogged(IQueueJournal journal)
    {
        if (journal.Retaken > 0) return Retake(journal);
        Descriptor head = Descriptor.Load(_ring, _nextAvailable.Index);
        if (!_nextAvailable.IsAvailable(head.PackedFlags)) return null;
        journal.Taking();
        if (Take(head) is not { } chain)
        {
            journal.Abandon();
            return null;
        }
        chain.LogEntry = journal.Taken(chain.Id);
        return chain;
    }

    /// <summary>
    /// A chain that a process before this one had taken: its descriptors may be overwritten in the ring, and are in the log.
    /// </summary>
    private DescriptorChain? Retake(IQueueJournal journal)
    {
        if (_hasStaleFlags) ForgetUsedFlags();
        (ushort name, Descriptor[] descriptors) = journal.Retake();
        DescriptorChain chain = Rent();
        chain.IsRetaken = true;
        ChainWalk walk = new(chain, default);
        bool isWalked = true, hasTable = false;
        for (int i = 0; isWalked && !hasTable && i < descriptors.Length; i++)
        {
            walk.Next = descriptors[i];
            hasTable = (walk.Next.PackedFlags & RingLayout.FlagIndirect) != 0;
            isWalked = hasTable
                ? TryWalkTable(chain, ref walk, isAllOfChain: i == 0)
                : walk.TryAdd(walk.Next.Address, walk.Next.Length, (uint)walk.Next.PackedFlags & RingLayout.FlagWrite);
        }
        if (!isWalked)
        {
            ReturnUnclaimed(chain);
            return null;
        }
        if (!hasTable) walk.Finish();
        chain.Id = descriptors[^1].BufferId;
        chain.RingDescriptors = (ushort)descriptors.Length;
        chain.LogEntry = name;
        return Claim(chain);
    }

    /// <summary>
    /// A process that died in a batch may have left used entries that the driver does not see, because the first one of them is not
    /// complete. It would take them for ours when we have given back what comes before.
    /// </summary>
    private void ForgetUsedFlags()
    {
        _hasStaleFlags = false;
        for (int i = 0; i < _taken; i++)
        {
            PackedPosition position = _nextUsed.Advance(i, Size);
            _ring.Store16(position.FlagsOffset, position.AvailableFlags);
        }
    }

    private protected override void UndoTake(DescriptorChain chain)
    {
        if (chain.IsRetaken)
        {
            Journal!.PutBack(chain.LogEntry);
            return;
        }
        Journal?.NotTaken(chain.LogEntry);
        _taken -= chain.RingDescriptors;
        _nextAvailable = _nextAvailable.Retreat(chain.RingDescriptors, Size);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private protected override void WriteUsed(DescriptorChain chain, uint written)
    {
        // The length counts only with the WRITE flag (§ 2.8.3).
        ushort flags = (ushort)(_nextUsed.UsedFlags | (written > 0 ? RingLayout.FlagWrite : 0));
        ulong entry = (ulong)_nextUsed.Index * RingLayout.DescriptorLength;
        if (_batchDescriptors == 0)
        {
            _batchStart = _nextUsed;
            _batchFlags = flags;
            _ring.Store32(entry + 8, written);
            _ring.Store16(entry + 12, chain.Id);
        }
        else
        {
            _ring.Store64(entry + 8, written | ((ulong)chain.Id << 32) | ((ulong)flags << 48));
        }
        _batchDescriptors += chain.RingDescriptors;
        _nextUsed = _nextUsed.Advance(chain.RingDescriptors, Size);
    }

    private protected override bool PublishUsed()
    {
        int descriptors = _batchDescriptors;
        if (descriptors == 0) return false;
        _batchDescriptors = 0;
        _taken -= descriptors;
        Journal?.Publishing(_nextUsed.Bits);
        _ring.Store16(_batchStart.FlagsOffset, _batchFlags);
        Journal?.Published(_nextUsed.Bits);
        if (Memory.DirtyTracker is { } tracker) tracker.Mark(Configuration.DescriptorTable, _ring.Length);
        // The driver asks for an interrupt, then looks at the flags; we in the opposite order.
        Interlocked.MemoryBarrier();
        return PackedPosition.WantsEvent(_driverEvent.Load32(0), _eventIndex, _nextUsed, descriptors, Size);
    }

    /// <summary>Follows a chain along the ring and into at most one indirect table, which it ends with.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool TryWalk(DescriptorChain chain, Descriptor first)
    {
        uint usual = Journal is null ? ChainWalk.FollowUsual<PackedOrder>(chain, first, _ring, Size, _nextAvailable.Index) : 0;
        if (usual == 0) return TryWalkUnusual(chain, first);
        return HasRoomFor(chain, (ushort)usual, (ushort)(usual >> 16));
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private bool TryWalkUnusual(DescriptorChain chain, Descriptor first)
    {
        ChainWalk walk = new(chain, first);
        WalkEnd end = walk.Follow<PackedOrder>(_ring, Size, _nextAvailable.Index, Math.Min((int)Size, ChainDescriptorsMax), Journal);
        if (end == WalkEnd.Refused) return false;
        (ushort descriptors, ushort id) = ((ushort)walk.Walked, walk.Next.BufferId);
        bool isWalked = end == WalkEnd.AtTable ? TryWalkTable(chain, ref walk, isAllOfChain: descriptors == 1) : walk.Finish();
        return isWalked && HasRoomFor(chain, descriptors, id);
    }

    /// <summary>Every descriptor of a packed ring's indirect table is used, in order; there is no NEXT flag (§ 2.8.7).</summary>
    private bool TryWalkTable(DescriptorChain chain, ref ChainWalk walk, bool isAllOfChain)
    {
        GuestWindow table = FindTable(walk.Next, walk.Next.PackedFlags, _indirect);
        if (table.Length == 0) return false;
        uint entries = (uint)(table.Length / RingLayout.DescriptorLength);
        // Linux fills a table up to the segments a device allows, however short the ring is.
        if (entries > ChainDescriptorsMax) return Refuse(QueueFaults.Length);
        walk.Next = Descriptor.Load(table, 0);
        if (isAllOfChain && ChainWalk.FollowUsual<PackedTableOrder>(chain, walk.Next, table, entries, 0) != 0) return true;
        WalkEnd end = walk.Follow<PackedTableOrder>(table, entries, 0, (int)entries);
        if (end == WalkEnd.AtTable) return Refuse(QueueFaults.Nested);
        return end == WalkEnd.Complete && walk.Finish();
    }

    /// <summary>
    /// A chain can't take descriptors that the device has not given back yet. The last one in the ring has the name of the chain.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool HasRoomFor(DescriptorChain chain, ushort descriptors, ushort id)
    {
        (chain.Id, chain.RingDescriptors) = (id, descriptors);
        return _taken + descriptors <= Size || Refuse(QueueFaults.Available);
    }
}
