namespace Vmm.Devices;

/// <summary>
/// The chains of a queue that are not in flight, and the ids of those that are. A structure in its queue, because each pop and each push
/// looks at it.
/// </summary>
internal struct ChainPool
{
    /// <summary>The one used last goes out first.</summary>
    private readonly DescriptorChain[] _free;
    private int _count;
    /// <summary>By head or buffer id.</summary>
    private bool[] _inFlight;

    internal ChainPool(VirtQueue queue, int madeAtStart)
    {
        _inFlight = new bool[queue.Size];
        // Room for as many as can be in flight, and one that is being filled.
        _free = new DescriptorChain[queue.Size + 1];
        while (_count < Math.Min(_free.Length, madeAtStart + 1)) _free[_count++] = new DescriptorChain(queue);
    }

    internal readonly bool IsEmpty => _count == 0;

    /// <summary>The chain that is taken next. Only where there is one.</summary>
    internal readonly DescriptorChain Next => _free[_count - 1];

    /// <summary>Takes <see cref="Next"/> out, and puts its id in flight.</summary>
    /// <returns>False, and nothing is changed, if the id is in flight or there is no room for it yet.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal bool TryTakeNext(ushort id)
    {
        bool[] ids = _inFlight;
        if (id >= ids.Length || ids[id]) return false;
        ids[id] = true;
        _count--;
        return true;
    }

    /// <summary>A chain to be filled: its id is put in flight, or it is returned.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal DescriptorChain Rent(VirtQueue queue) => _count > 0 ? _free[--_count] : Make(queue);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Return(DescriptorChain chain)
    {
        chain.Clear();
        ref DescriptorChain place = ref _free[_count++];
        // It is there still, if it was the last to go: a reference costs more to write than to read.
        if (place != chain) place = chain;
    }

    /// <summary>Puts an id in flight.</summary>
    /// <returns>False if it is.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal bool TryClaim(ushort id)
    {
        bool[] ids = _inFlight;
        // A packed ring's driver may number its buffers as it likes: then there is room for all numbers, once.
        ref bool isInFlight = ref id < ids.Length ? ref ids[id] : ref MakeRoomForIds()[id];
        if (isInFlight) return false;
        isInFlight = true;
        return true;
    }

    /// <summary>An id is in flight no more.</summary>
    internal readonly void Release(ushort id) => _inFlight[id] = false;

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static DescriptorChain Make(VirtQueue queue) => new(queue);

    [MethodImpl(MethodImplOptions.NoInlining)]
    private bool[] MakeRoomForIds()
    {
        Array.Resize(ref _inFlight, ushort.MaxValue + 1);
        return _inFlight;
    }
}
