namespace Vmm.Events.Buffers;

/// <summary>How the words of a block change: by plain stores of the owner of its pool's front, or by compare-and-swap.</summary>
internal sealed unsafe partial class SlabBlock
{
    /// <summary>Who may change the words of a block, and how.</summary>
    private enum Access : byte
    {
        /// <summary>Each thread, by compare-and-swap.</summary>
        Everyone,
        /// <summary>The owner of the front, by plain stores in a section.</summary>
        Owner,
        /// <summary>The owner can't any more, but may be in its last such section.</summary>
        Leaving,
        /// <summary>Each thread, by compare-and-swap, for good: another thread used it, which cost that one a barrier.</summary>
        EveryoneForGood,
    }

    private volatile Access _access;

    /// <summary>Most free blocks of its class that a front keeps; 0 for a block that no front takes.</summary>
    internal int FrontMax { get; private set; }

    /// <summary>Whether its words are the owner's.</summary>
    internal bool IsOwners => _access == Access.Owner;

    /// <summary>The free block goes to the front: its words are the owner's, unless they travelled before. Under the pool's lock.</summary>
    internal void IsForOwner()
    {
        FrontMax = 2 * SlabFront.BatchOf(SizeClass);
        if (_access == Access.Everyone) _access = Access.Owner;
    }

    /// <summary>The free block goes to another thread than the owner. Under the pool's lock.</summary>
    internal void IsForOthers()
    {
        if (_access == Access.Owner) _access = Access.Everyone;
    }

    /// <summary>
    /// Changes a word of the block, or of a share of it, from what a handle says. Nothing of a stale handle changes anything.
    /// </summary>
    /// <returns>False if the word is not what was expected.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal bool TryChange(ref ulong word, ulong expected, ulong next)
    {
        SlabFront front = _pool.Front;
        if (front.IsMine)
        {
            front.Enter();
            bool changed = MayStore(front) && word == expected;
            if (changed) word = next;
            front.Leave();
            if (changed) return true;
        }
        return TryChangeLocked(ref word, expected, next);
    }

    /// <summary>Ends the block's life and puts it into the front.</summary>
    /// <returns>False if that can't be done here: nothing changed.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool TryReleaseAsOwner(ulong generation, BlockState from)
    {
        SlabFront front = _pool.Front;
        if (!front.IsMine) return false;
        front.Enter();
        bool released = MayStore(front) && _stamp == Stamp(generation, from) && TryPut(front, generation);
        front.Leave();
        return released;
    }

    /// <summary>Ends a share that is the only one, and with it the block's life.</summary>
    /// <returns>False if that can't be done here: nothing changed.</returns>
    internal bool TryReleaseOnlyShareAsOwner(FrozenShare share, ref ulong word, ulong generation)
    {
        SlabFront front = _pool.Front;
        if (!front.IsMine) return false;
        front.Enter();
        bool released = MayStore(front) && share == FirstShare && word == generation && _shares == 1
            && TryPut(front, _stamp >> StateBits);
        if (released)
        {
            word = generation + 1;
            _shares = 0;
        }
        front.Leave();
        return released;
    }

    /// <summary>
    /// Before a locked instruction on a word of this block: from here on its owner uses those too. Costs a barrier on each processor of the
    /// process, once in the life of the process for each block that travels.
    /// </summary>
    private void ClaimWords()
    {
        if (_access is not (Access.Owner or Access.Leaving) || _pool.Front.IsMine) return;
        _pool.EndOwnerSections(this);
    }

    /// <summary>Takes the owner's right on this block away. Under the pool's lock.</summary>
    internal void EndOwnerAccess(SlabFront front)
    {
        if (_access != Access.Owner) return;
        _access = Access.Leaving;
        front.WaitUntilLeft();
        _access = Access.EveryoneForGood;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private bool TryChangeLocked(ref ulong word, ulong expected, ulong next)
    {
        ClaimWords();
        return Interlocked.CompareExchange(ref word, next, expected) == expected;
    }

    /// <summary>Whether the owner, who is in a section, still has its right.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool MayStore(SlabFront front) => _pool.Front == front && _access == Access.Owner;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool TryPut(SlabFront front, ulong generation)
    {
        if (!front.HasRoom(this) || IsWornOut) return false;
        _stamp = Stamp(generation + 1, BlockState.Free);
        front.Put(this);
        return true;
    }
}
