namespace Vmm.Events;

/// <summary>What a thin pointer points at. Lives on the pinned object heap, is reused, is never freed while its reactor lives.</summary>
internal struct Slot
{
    internal Subscription? Target;
    internal int Fd;
    internal uint Bits;
    /// <summary>Odd while the slot is rented, even while it is free: an event never matches a free slot.</summary>
    internal ushort Generation;
    /// <summary>Kept by <see cref="IoUringPoller"/>.</summary>
    internal PollState Poll;
    /// <summary>Kept by <see cref="IoUringPoller"/>: the last wait that has an event of this slot, and where in its batch.</summary>
    internal int SeenInWait;
    internal int SeenAt;
    /// <summary>The reactor's turn in which it was last modified, which re-arms a one-shot interest.</summary>
    internal long ArmedInTurn;
    /// <summary>The reactor's turn in which it was last retired.</summary>
    internal long RetiredInTurn;
    /// <summary>The next slot of the first-in first-out list of free ones; -1 at its end.</summary>
    internal int NextFree;
}

/// <summary>
/// The reactor's slots (invariant I2). A retired slot goes to the end of a first-in first-out list and gets a new generation at once, so an
/// event that was already reported for it no longer matches. Slots retired during a batch are reused only after the batch. A generation
/// comes back after 32 768 rentals of the same slot, that is after 8 million subscriptions at the least: the list is never shorter than a
/// chunk less what is rented from it.
/// </summary>
internal sealed class SlotTable
{
    internal const int Retired = -1;
    private const int ChunkShift = 8;
    internal const int ChunkLength = 1 << ChunkShift;

    private readonly List<Slot[]> _chunks = [];
    private int _firstFree = -1;
    private int _lastFree = -1;
    private int _reusable;
    private int _retiredInBatch;

    internal int Capacity => _chunks.Count << ChunkShift;

    /// <summary>Slots that are rented now.</summary>
    internal int Rented => Capacity - _reusable - _retiredInBatch;

    internal ref Slot this[int index] => ref _chunks[index >> ChunkShift][index & (ChunkLength - 1)];

    internal int Rent()
    {
        if (_reusable == 0) Grow();
        int index = _firstFree;
        ref Slot slot = ref this[index];
        _firstFree = slot.NextFree;
        if (_firstFree < 0) _lastFree = -1;
        slot.NextFree = -1;
        slot.Generation++;
        _reusable--;
        return index;
    }

    internal void Retire(int index, long turn, bool inBatch)
    {
        ref Slot slot = ref this[index];
        slot.Target = null;
        slot.Fd = Retired;
        slot.Bits = 0;
        slot.Poll = PollState.Idle;
        slot.Generation++;
        slot.RetiredInTurn = turn;
        Append(index);
        if (inBatch) _retiredInBatch++; else _reusable++;
    }

    /// <summary>The subscription a thin pointer names now; null if that slot was retired since.</summary>
    internal static Subscription? TargetOf(ulong data)
    {
        if (data == 0) return null;
        ref Slot slot = ref ThinPointer.Resolve(data);
        return slot.Generation == ThinPointer.GenerationOf(data) ? slot.Target : null;
    }

    internal void BatchEnded()
    {
        _reusable += _retiredInBatch;
        _retiredInBatch = 0;
    }

    private void Append(int index)
    {
        this[index].NextFree = -1;
        if (_lastFree < 0) _firstFree = index; else this[_lastFree].NextFree = index;
        _lastFree = index;
    }

    /// <summary>Adds a chunk in front of the list: the slots already on it wait for the end of the batch and must come later.</summary>
    private void Grow()
    {
        int first = Capacity;
        _chunks.Add(GC.AllocateArray<Slot>(ChunkLength, pinned: true));
        for (int i = first; i < first + ChunkLength; i++)
        {
            ref Slot slot = ref this[i];
            slot.Fd = Retired;
            slot.NextFree = i + 1;
        }
        this[first + ChunkLength - 1].NextFree = _firstFree;
        if (_lastFree < 0) _lastFree = first + ChunkLength - 1;
        _firstFree = first;
        _reusable += ChunkLength;
    }
}
