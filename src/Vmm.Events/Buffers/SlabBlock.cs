namespace Vmm.Events.Buffers;

/// <summary>Who may touch a block.</summary>
internal enum BlockState : byte
{
    /// <summary>No code: it is in the pool.</summary>
    Free,
    /// <summary>The holder of the current <see cref="SlabBuffer"/>.</summary>
    Owned,
    /// <summary>The holder of its one <see cref="SlabView"/>.</summary>
    Viewed,
    /// <summary>The kernel.</summary>
    Lent,
    /// <summary>Any number of readers.</summary>
    Frozen,
}

/// <summary>
/// One piece of a slab and its life. State and generation are one word that changes by compare-and-swap, or by a plain store of the one
/// thread that may (<see cref="SlabFront"/>), so that of two threads that release the same buffer one gets an exception (invariants A, B
/// and D).
/// </summary>
internal sealed unsafe partial class SlabBlock
{
    /// <summary>The last generation. A block that reaches it is not reused.</summary>
    internal const ulong GenerationMax = (1UL << (64 - StateBits)) - 1;

    /// <summary>Most owners a frozen block can have.</summary>
    internal const int SharesMax = 1 << 20;

    /// <summary>The longest life of a block passes fewer hand-overs than this; it retires while it still has as many left.</summary>
    private const ulong GenerationsReserved = 1UL << 32;
    private const int StateBits = 8;

    private readonly SlabPool _pool;
    private readonly byte* _address;
    private ulong _stamp;
    private int _written;
    private int _cleared;
    private int _shares;

    internal SlabBlock(SlabPool pool, SlabPage page, nint address, int capacity)
    {
        _pool = pool;
        Page = page;
        _address = (byte*)address;
        Capacity = capacity;
        if (capacity <= SlabPool.BlockBytesMax) SizeClass = SlabPool.ClassOf(capacity);
        FirstShare = new FrozenShare(this);
    }

    internal SlabPage Page { get; }

    internal SlabPool Pool => _pool;

    internal int Capacity { get; }

    /// <summary>Which list of free blocks it goes to; 0 also for a huge one, which goes to none.</summary>
    internal int SizeClass { get; }

    internal nint Address => (nint)_address;

    /// <summary>The share that comes with the block, so that freezing needs nothing else.</summary>
    internal FrozenShare FirstShare { get; }

    internal SlabBlock? NextFree { get; set; }

    internal string? RentedAt { get; private set; }

    internal BlockState State => (BlockState)Volatile.Read(ref _stamp);

    internal bool IsWornOut => _stamp >> StateBits >= GenerationMax - GenerationsReserved;

    /// <summary>
    /// Begins a life, in the pool's lock or in a section of its front. A plain store: all handles are of lives before, and change nothing.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal ulong Begin(string? rentedAt)
    {
        _written = 0;
        _cleared = 0;
        RentedAt = rentedAt;
        ulong generation = (_stamp >> StateBits) + 1;
        Volatile.Write(ref _stamp, Stamp(generation, BlockState.Owned));
        return generation;
    }

    /// <summary>Hands the block on: later, only the returned generation is good for anything.</summary>
    internal ulong Move(ulong generation, BlockState from, BlockState to)
    {
        Swap(generation, from, generation + 1, to);
        return generation + 1;
    }

    /// <summary>Takes a hand-over back whose generation was not handed to other code: the handle before it is valid again.</summary>
    internal void UndoMove(ulong generation, BlockState from, BlockState to) => Swap(generation, from, generation - 1, to);

    /// <summary>Changes who may touch the block; its handle stays good.</summary>
    internal void Switch(ulong generation, BlockState from, BlockState to) => Swap(generation, from, generation, to);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Check(ulong generation, BlockState state)
    {
        if (Volatile.Read(ref _stamp) != Stamp(generation, state)) ThrowMisuse(generation, state);
    }

    internal int Written(ulong generation, BlockState state)
    {
        Check(generation, state);
        return _written;
    }

    internal void SetWritten(int written) => _written = written;

    /// <summary>The kernel wrote so many bytes behind the written ones, and may have touched more of the room than it says.</summary>
    internal void AddWrittenByKernel(int count) => _cleared = _written += count;

    /// <summary>The bytes written so far, to change them (invariant C).</summary>
    internal Span<byte> WrittenBytes(ulong generation, BlockState state)
    {
        Check(generation, state);
        // SAFETY: the block's bytes are mapped until its life ends, and 0 <= _written <= Capacity.
        return new Span<byte>(_address, _written);
    }

    /// <summary>The bytes after the written ones, zeroed the first time they are shown (invariant C).</summary>
    internal Span<byte> Room(ulong generation, BlockState state)
    {
        Check(generation, state);
        int zeroFrom = Math.Max(_cleared, _written);
        // SAFETY: both spans lie between _address and _address + Capacity, which are mapped until the block's life ends.
        new Span<byte>(_address + zeroFrom, Capacity - zeroFrom).Clear();
        _cleared = Capacity;
        return new Span<byte>(_address + _written, Capacity - _written);
    }

    internal void Append(ulong generation, ReadOnlySpan<byte> bytes)
    {
        Check(generation, BlockState.Owned);
        if (bytes.Length > Capacity - _written)
            throw new ArgumentException($"{bytes.Length} bytes do not fit: {_written} of {Capacity} are written", nameof(bytes));
        // SAFETY: checked to fit behind the written bytes of this block.
        bytes.CopyTo(new Span<byte>(_address + _written, bytes.Length));
        _written += bytes.Length;
    }

    internal void Advance(ulong generation, BlockState state, int count)
    {
        Check(generation, state);
        if ((uint)count > (uint)(Capacity - _written))
            throw new ArgumentOutOfRangeException(nameof(count), count, $"{_written} of {Capacity} bytes are written");
        // What was neither shown nor written by its owner holds another one's bytes.
        if (_written + count > Math.Max(_cleared, _written)) _ = Room(generation, state);
        _written += count;
    }

    /// <summary>Everything that was frozen, for the memory of a share.</summary>
    internal Span<byte> AllFrozenBytes()
    {
        // SAFETY: 0 <= _written <= Capacity, and the share behind the memory keeps the block. It is handed out read-only.
        return new Span<byte>(_address, _written);
    }

    /// <summary>The bytes of a share. The caller checked the share.</summary>
    internal ReadOnlySpan<byte> FrozenBytes(int start, int length)
    {
        // SAFETY: start and length were cut to the written bytes when the share was made; the share keeps the block.
        return new ReadOnlySpan<byte>(_address + start, length);
    }

    internal FrozenBuffer Freeze(ulong generation, int count)
    {
        Check(generation, BlockState.Owned);
        if ((uint)count > (uint)_written)
            throw new ArgumentOutOfRangeException(nameof(count), count,
                $"only {_written} bytes are written: the rest is not anyone's to show");
        Move(generation, BlockState.Owned, BlockState.Frozen);
        _written = count;
        Volatile.Write(ref _shares, 1);
        return new FrozenBuffer(FirstShare, FirstShare.Begin(), 0, count);
    }

    /// <summary>One more owner of a frozen block.</summary>
    internal void AddShare()
    {
        ClaimWords();
        int shares = Volatile.Read(ref _shares);
        while (true)
        {
            ObjectDisposedException.ThrowIf(shares <= 0, typeof(FrozenBuffer));
            if (shares >= SharesMax) throw new InvalidOperationException($"a frozen buffer has at most {SharesMax} owners");
            int seen = Interlocked.CompareExchange(ref _shares, shares + 1, shares);
            if (seen == shares) return;
            shares = seen;
        }
    }

    /// <summary>An owner of a frozen block is done; with the last one its life ends.</summary>
    internal void DropShare()
    {
        ClaimWords();
        if (Interlocked.Decrement(ref _shares) > 0) return;
        Release(Volatile.Read(ref _stamp) >> StateBits, BlockState.Frozen);
    }

    internal FrozenShare RentShare() => _pool.RentShare(this);

    internal void ReturnShare(FrozenShare share) => _pool.ReturnShare(share);

    /// <summary>Ends the block's life.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Release(ulong generation, BlockState from)
    {
        if (!TryReleaseAsOwner(generation, from)) ReleaseToPool(generation, from);
    }

    private void ReleaseToPool(ulong generation, BlockState from)
    {
        Move(generation, from, BlockState.Free);
        _pool.Return(this);
    }

    /// <summary>For tests of the end of a block's generations and shares, which take years to reach.</summary>
    internal void Age(ulong generation) => _stamp = Stamp(generation, State);

    internal void SetShares(int shares) => _shares = shares;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong Stamp(ulong generation, BlockState state) => generation << StateBits | (byte)state;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Swap(ulong generation, BlockState from, ulong nextGeneration, BlockState to)
    {
        if (!TryChange(ref _stamp, Stamp(generation, from), Stamp(nextGeneration, to))) ThrowMisuse(generation, from);
    }

    private void ThrowMisuse(ulong generation, BlockState wanted)
    {
        ulong stamp = Volatile.Read(ref _stamp);
        Exception misuse = (stamp >> StateBits, (BlockState)stamp) switch
        {
            (ulong now, _) when now != generation => new ObjectDisposedException(
                nameof(SlabBuffer), "this handle is stale: its buffer was released, frozen or handed on"),
            (_, BlockState.Viewed) => new InvalidOperationException("the buffer has a mutable view out: dispose that first"),
            (_, BlockState now) => new InvalidOperationException($"the buffer is {now}, which is not {wanted}"),
        };
        throw misuse;
    }
}
