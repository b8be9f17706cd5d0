namespace Vmm.Events.Buffers;

/// <summary>The pool's <see cref="SlabFront"/>: whose it is, and how blocks get there and back.</summary>
public sealed partial class SlabPool
{
    /// <summary>
    /// A thread that rented so many times while the owner of the front rented nothing becomes the owner: it was another thread that made
    /// the pool ready, or the owner has ended.
    /// </summary>
    private const int RentsToOwn = 64;

    private SlabFront _front = SlabFront.Unowned;
    private int _claimant;
    private int _claims;
    private long _ownerRents;

    internal SlabFront Front
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => Volatile.Read(ref _front);
    }

    /// <summary>Another thread than the owner is about to use a block.</summary>
    internal void EndOwnerSections(SlabBlock block)
    {
        lock (_lock) block.EndOwnerAccess(_front);
    }

    private bool TryRentAsOwner(int capacity, out SlabBuffer buffer)
    {
        SlabFront front = Front;
        if (capacity > BlockBytesMax || !front.IsMine)
        {
            buffer = default;
            return false;
        }
        int sizeClass = ClassOf(capacity);
        front.Enter();
        SlabBlock? block = Front == front ? front.TryRent(sizeClass) : null;
        buffer = block is null ? default : new SlabBuffer(block, block.Begin(null));
        front.Leave();
        return block is not null;
    }

    /// <summary>Whether the front is the calling thread's, or becomes it now. Under the lock.</summary>
    private bool IsFrontMine()
    {
        if (_front.IsMine) return true;
        // Those blocks are for finding faults.
        if (_options.GuardPages || _options.TraceRents) return false;
        if (_front != SlabFront.Unowned && !HasClaim()) return false;
        TakeFrontAway();
        _front = SlabFront.OfCallingThread();
        // Where the C library does not say which thread runs, there are no fronts.
        if (!_front.IsMine) _front = SlabFront.Unowned;
        return _front.IsMine;
    }

    private bool HasClaim()
    {
        int me = Environment.CurrentManagedThreadId;
        long ownerRents = _front.Rents;
        if (_claimant != me || _ownerRents != ownerRents)
        {
            _claimant = me;
            _ownerRents = ownerRents;
            _claims = 0;
        }
        return ++_claims >= RentsToOwn;
    }

    /// <summary>Moves what the front holds into the pool, and leaves it to no thread. Under the lock.</summary>
    /// <returns>Whether there was a block.</returns>
    private bool TakeFrontAway()
    {
        SlabFront front = _front;
        if (front == SlabFront.Unowned) return false;
        Volatile.Write(ref _front, SlabFront.Unowned);
        front.WaitUntilLeft();
        _rents += front.Rents;
        bool any = false;
        for (int sizeClass = 0; sizeClass < Classes; sizeClass++) any |= Move(front, sizeClass, int.MaxValue) > 0;
        return any;
    }

    /// <summary>
    /// Moves a batch of the blocks of a class into the front, beside the one that is rented now. Under the lock, on the owner's thread.
    /// </summary>
    private void FillFront(SlabBlock rented)
    {
        if (rented.Capacity > BlockBytesMax) return;
        rented.IsForOwner();
        int sizeClass = rented.SizeClass;
        for (int i = SlabFront.BatchOf(sizeClass); i > 0 && _free[sizeClass] is { } block; i--)
        {
            _free[sizeClass] = block.NextFree;
            Out(block);
            block.IsForOwner();
            _front.Put(block);
        }
    }

    /// <summary>Moves a batch back if the front is full. Under the lock, on the owner's thread.</summary>
    private void ThinOut(int sizeClass)
    {
        int batch = SlabFront.BatchOf(sizeClass);
        if (_front.CountOf(sizeClass) >= 2 * batch) Move(_front, sizeClass, batch);
    }

    private int Move(SlabFront front, int sizeClass, int blocksMax)
    {
        int moved = 0;
        while (moved < blocksMax && front.TakeOut(sizeClass) is { } block)
        {
            TakeBack(block);
            moved++;
        }
        return moved;
    }
}
