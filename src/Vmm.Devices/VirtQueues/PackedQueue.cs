using System.Runtime.CompilerServices;

namespace Vmm.Devices;

/// <summary>
/// A packed virtqueue (virtio 1.2 § 2.8): one ring of descriptors that both sides write, and two event suppression structures.
/// </summary>
internal sealed class PackedQueue : VirtQueue
{
    private readonly QueueConfiguration _configuration;
    private readonly bool _eventIndex;
    private readonly bool _indirect;
    private readonly IQueueJournal? _journal;
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
        _configuration = configuration;
        _eventIndex = configuration.Has(VirtioFeatures.EventIndex);
        _indirect = configuration.Has(VirtioFeatures.IndirectDescriptors);
        _journal = configuration.Journal;
        _taken = _journal?.RetakenDescriptors ?? 0;
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
        _journal is { Retaken: > 0 } || _nextAvailable.IsAvailable(_ring.Load16(_nextAvailable.FlagsOffset));

    private protected override GuestFault ResolveRings(MemoryMap map)
    {
        if (!GuestWindow.TryResolve(map, _configuration.DescriptorTable, RingLayout.TableLength(Size), 16, out GuestWindow ring)
            || !GuestWindow.TryResolve(map, _configuration.DriverRing, RingLayout.EventLength, 4, out GuestWindow driverEvent)
            || !GuestWindow.TryResolve(map, _configuration.DeviceRing, RingLayout.EventLength, 4, out GuestWindow deviceEvent))
        {
            return QueueFaults.Outside;
        }
        (_ring, _driverEvent, _deviceEvent) = (ring, driverEvent, deviceEvent);
        return default;
    }

    private protected override void ForgetRings() => (_ring, _driverEvent, _deviceEvent) = (default, default, default);

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
        if (_journal is not null) return TakeLogged(_journal);
        PackedPosition next = _nextAvailable;
        // Flags, id and length come with one load, and before the address: the driver writes the flags of a chain's head last.
        Descriptor head = Descriptor.Load(_ring, next.Index);
        if (!next.IsAvailable(head.PackedFlags)) return null;
        DescriptorChain chain = Rent();
        chain.Id = head.BufferId;
        chain.RingDescriptors = 1;
        bool isFilled = (head.PackedFlags & (RingLayout.FlagNext | RingLayout.FlagIndirect)) == 0 && _taken < Size
            && chain.TryFillWithOne(Near, head.Address, head.Length, (head.PackedFlags & RingLayout.FlagWrite) != 0);
        if (isFilled || TryWalk(chain, head))
        {
            if (Claim(chain) is null) return null;
            int descriptors = chain.RingDescriptors;
            _taken += descriptors;
            _nextAvailable = next.Advance(descriptors, Size);
            return chain;
        }
        ReturnUnclaimed(chain);
        return null;
    }

    /// <summary>As <see cref="TakeAvailable"/>, and notes the chain in a log.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private DescriptorChain? TakeLogged(IQueueJournal journal)
    {
        if (journal.Retaken > 0) return Retake(journal);
        Descriptor head = Descriptor.Load(_ring, _nextAvailable.Index);
        if (!_nextAvailable.IsAvailable(head.PackedFlags)) return null;
        DescriptorChain chain = Rent();
        journal.Taking();
        if (!TryWalk(chain, head))
        {
            ReturnUnclaimed(chain);
            journal.Abandon();
            return null;
        }
        if (Claim(chain) is null)
        {
            journal.Abandon();
            return null;
        }
        chain.LogEntry = journal.Taken(chain.Id);
        _taken += chain.RingDescriptors;
        _nextAvailable = _nextAvailable.Advance(chain.RingDescriptors, Size);
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
        ChainWalk walk = new(chain, Near);
        bool isWalked = true, hasTable = false;
        foreach (Descriptor descriptor in descriptors)
        {
            hasTable = (descriptor.PackedFlags & RingLayout.FlagIndirect) != 0;
            isWalked = hasTable
                ? TryWalkTable(ref walk, descriptor)
                : walk.TryAdd(descriptor.Address, descriptor.Length, (uint)descriptor.PackedFlags & RingLayout.FlagWrite);
            if (!isWalked || hasTable) break;
        }
        if (!isWalked)
        {
            ReturnUnclaimed(chain);
            return null;
        }
        walk.Finish();
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
            _journal!.PutBack(chain.LogEntry);
            return;
        }
        _journal?.NotTaken(chain.LogEntry);
        _taken -= chain.RingDescriptors;
        _nextAvailable = _nextAvailable.Retreat(chain.RingDescriptors, Size);
    }

    /// <summary>Writes a used entry, not visible to the driver yet.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void WriteUsed(DescriptorChain chain, uint written)
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
        _journal?.GivenBack(chain.LogEntry);
        _nextUsed = _nextUsed.Advance(chain.RingDescriptors, Size);
    }

    private protected override bool PublishUsed()
    {
        int descriptors = _batchDescriptors;
        if (descriptors == 0) return false;
        _batchDescriptors = 0;
        _taken -= descriptors;
        _journal?.Publishing(_nextUsed.Bits);
        _ring.Store16(_batchStart.FlagsOffset, _batchFlags);
        _journal?.Published(_nextUsed.Bits);
        if (Memory.DirtyTracker is { } tracker) tracker.Mark(_configuration.DescriptorTable, _ring.Length);
        // The driver asks for an interrupt, then looks at the flags; we in the opposite order.
        Interlocked.MemoryBarrier();
        return PackedPosition.WantsEvent(_driverEvent.Load32(0), _eventIndex, _nextUsed, descriptors, Size);
    }

    /// <summary>Follows a chain along the ring and into at most one indirect table, which it ends with.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private bool TryWalk(DescriptorChain chain, Descriptor descriptor)
    {
        ChainWalk walk = new(chain, Near);
        IQueueJournal? journal = _journal;
        GuestWindow ring = _ring;
        uint index = _nextAvailable.Index;
        uint size = Size;
        int descriptorsMax = Math.Min((int)size, ChainDescriptorsMax);
        for (int descriptors = 1; descriptors <= descriptorsMax; descriptors++)
        {
            uint flags = descriptor.PackedFlags;
            journal?.Add(descriptor);
            if ((flags & RingLayout.FlagIndirect) != 0)
                return TryWalkTable(ref walk, descriptor) && HasRoomFor(chain, descriptors, descriptor) && walk.Finish();
            if (!walk.TryAdd(descriptor.Address, descriptor.Length, flags & RingLayout.FlagWrite)) return false;
            if ((flags & RingLayout.FlagNext) == 0) return HasRoomFor(chain, descriptors, descriptor) && walk.Finish();
            if (++index == size) index = 0;
            descriptor = Descriptor.Load(ring, index);
        }
        return Refuse(QueueFaults.Length);
    }

    /// <summary>Every descriptor of a packed ring's indirect table is used, in order; there is no NEXT flag (§ 2.8.7).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool TryWalkTable(ref ChainWalk walk, Descriptor descriptor)
    {
        GuestWindow table = FindTable(descriptor, descriptor.PackedFlags, _indirect);
        if (table.Length == 0) return false;
        uint entries = (uint)(table.Length / RingLayout.DescriptorLength);
        // Linux fills a table up to the segments a device allows, however short the ring is.
        if (entries > ChainDescriptorsMax) return Refuse(QueueFaults.Length);
        for (uint i = 0; i < entries; i++)
        {
            Descriptor entry = Descriptor.Load(table, i);
            if ((entry.PackedFlags & RingLayout.FlagIndirect) != 0) return Refuse(QueueFaults.Nested);
            if (!walk.TryAdd(entry.Address, entry.Length, (uint)entry.PackedFlags & RingLayout.FlagWrite)) return false;
        }
        return true;
    }

    /// <summary>
    /// A chain can't take descriptors that the device has not given back yet. The last one has its name, and so many were taken.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool HasRoomFor(DescriptorChain chain, int descriptors, Descriptor last)
    {
        (chain.Id, chain.RingDescriptors) = (last.BufferId, (ushort)descriptors);
        return _taken + descriptors <= Size || Refuse(QueueFaults.Available);
    }
}
