namespace Vmm.Events.Buffers;

/// <summary>
/// The free blocks of the thread that uses a pool most, which it takes and gives back without a lock. It also changes the words of its
/// blocks with plain stores, inside of a section. Another thread that wants the blocks, or one block's words, first takes the right away
/// and then waits until the owner is in no section (<see cref="WaitUntilLeft"/>): the owner pays no locked instruction, the other thread
/// a barrier on every processor of the process.
/// </summary>
internal sealed class SlabFront
{
    /// <summary>Bytes of one size class that move between the front and its pool at once, and the most blocks of one.</summary>
    private const int BatchBytes = 256 << 10;
    private const int BatchBlocksMax = 64;

    private readonly ThreadStack _owner = new();
    private readonly SlabBlock?[] _free = new SlabBlock?[SlabPool.Classes];
    private readonly int[] _counts = new int[SlabPool.Classes];
    private bool _inSection;

    private SlabFront()
    {
    }

    /// <summary>A front without an owner: no thread is in it.</summary>
    internal static SlabFront Unowned { get; } = new();

    /// <summary>Buffers that the owner rented without the lock. Others read it while it changes.</summary>
    internal long Rents { get; private set; }

    /// <summary>Whether the calling thread is the owner; false at times also there, which costs speed only.</summary>
    internal bool IsMine
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => _owner.IsMine;
    }

    /// <summary>Free blocks here, of all classes.</summary>
    internal int Count => _counts.Sum();

    /// <summary>Free blocks of a class here.</summary>
    internal int CountOf(int sizeClass) => _counts[sizeClass];

    /// <summary>A front of the calling thread.</summary>
    internal static SlabFront OfCallingThread()
    {
        SlabFront front = new();
        front._owner.Claim();
        return front;
    }

    /// <summary>Blocks of a class that move at once.</summary>
    internal static int BatchOf(int sizeClass) => Math.Min(BatchBlocksMax, BatchBytes / (SlabPool.BlockBytesMin << sizeClass));

    /// <summary>Begins a section. On the owner's thread, which then looks whether its right still holds; nothing in it throws.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Enter() => Volatile.Write(ref _inSection, true);

    /// <summary>Ends a section.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Leave() => Volatile.Write(ref _inSection, false);

    /// <summary>
    /// Called under the pool's lock by a thread that took a right away: a section that began before is over then, and each later one sees
    /// that the right is gone.
    /// </summary>
    internal void WaitUntilLeft()
    {
        if (IsMine) return;
        // The owner stores that it is in a section, then reads its right, without a fence; we in the opposite order.
        Interlocked.MemoryBarrierProcessWide();
        SpinWait spin = default;
        while (Volatile.Read(ref _inSection)) spin.SpinOnce();
    }

    /// <summary>Takes a free block, in a section.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal SlabBlock? TryRent(int sizeClass)
    {
        SlabBlock? block = _free[sizeClass];
        if (block is null) return null;
        _free[sizeClass] = block.NextFree;
        _counts[sizeClass]--;
        Rents++;
        return block;
    }

    /// <summary>Whether a block may be put in.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal bool HasRoom(SlabBlock block) => _counts[block.SizeClass] < block.FrontMax;

    /// <summary>Puts a free block in: in a section, or under the pool's lock on the owner's thread.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Put(SlabBlock block)
    {
        int sizeClass = block.SizeClass;
        block.NextFree = _free[sizeClass];
        _free[sizeClass] = block;
        _counts[sizeClass]++;
    }

    /// <summary>Takes a free block out for the pool, under its lock, on the owner's thread or when the owner's right is gone.</summary>
    internal SlabBlock? TakeOut(int sizeClass)
    {
        SlabBlock? block = TryRent(sizeClass);
        if (block is not null) Rents--;
        return block;
    }
}
