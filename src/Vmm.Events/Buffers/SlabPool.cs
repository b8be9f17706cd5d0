using System.Numerics;

namespace Vmm.Events.Buffers;

/// <summary>
/// Rents memory that the kernel may be given, by size class, from slabs that it maps as needed and keeps. Thread-safe. In steady state a
/// rent, a freeze and a release allocate nothing; on the thread that rents most they take no lock and no locked instruction. The
/// invariants are in INVARIANTS.md.
/// </summary>
public sealed partial class SlabPool : IDisposable
{
    /// <summary>Bytes of one slab page.</summary>
    public const int PageBytes = 1 << 20;

    /// <summary>The smallest size class: a sector, so that each buffer is aligned for O_DIRECT.</summary>
    public const int BlockBytesMin = 512;

    /// <summary>The largest size class. A larger buffer is mapped for itself and unmapped when it is released.</summary>
    public const int BlockBytesMax = 256 << 10;

    /// <summary>The largest buffer there is.</summary>
    public const int HugeBytesMax = 1 << 30;

    /// <summary>Guarded pages that stay mapped after their release to catch late accesses; the oldest goes first.</summary>
    private const int QuarantineMax = 256;

    /// <summary>Size classes: each has twice the bytes of the one before.</summary>
    internal const int Classes = 10;

    private readonly SlabPoolOptions _options;
    private readonly Lock _lock = new();
    private readonly SlabBlock?[] _free = new SlabBlock?[Classes];
    private readonly HashSet<SlabPage> _pages = [];
    private readonly Queue<SlabPage> _quarantine = new();
    private FrozenShare? _freeShare;
    private long _mappedBytes;
    private long _rents;
    private long _hugeRents;
    private int _outstanding;
    private int _retired;
    private bool _disposed;

    /// <summary>Makes a pool that has mapped nothing yet.</summary>
    public SlabPool(SlabPoolOptions? options = null)
    {
        _options = options ?? new SlabPoolOptions();
        _options.Validate();
    }

    /// <summary>What the pool holds and did.</summary>
    internal SlabPoolStatistics Statistics
    {
        get
        {
            lock (_lock)
            {
                return new SlabPoolStatistics(
                    _pages.Count, _mappedBytes, _outstanding - _front.Count, _rents + _front.Rents, _hugeRents, _retired);
            }
        }
    }

    /// <summary>The ring that registers this pool's pages; it is notified of pages that are gone, on any thread.</summary>
    internal IPageRegistry? Registry { get; set; }

    /// <summary>Rents a buffer. It is empty, and its owner must release, freeze or hand it on.</summary>
    /// <param name="capacity">Bytes it must have room for, 1 to <see cref="HugeBytesMax"/>.</param>
    /// <exception cref="InvalidOperationException">The pool's bytes are used up.</exception>
    /// <exception cref="KernelException">There is no memory.</exception>
    public SlabBuffer Rent(int capacity) => TryRent(capacity, out SlabBuffer buffer)
        ? buffer
        : throw new InvalidOperationException(
            $"{capacity} more bytes exceed the pool's limit of {_options.BytesMax}: raise {nameof(SlabPoolOptions.BytesMax)} or "
            + "release some");

    /// <summary>As <see cref="Rent"/>, for callers that can wait.</summary>
    /// <returns>False if the pool's bytes are used up.</returns>
    public bool TryRent(int capacity, out SlabBuffer buffer)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(capacity, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(capacity, HugeBytesMax);
        return TryRentAsOwner(capacity, out buffer) || TryRentFromPool(capacity, out buffer);
    }

    /// <summary>The buffers that are rented and not released.</summary>
    public IReadOnlyList<SlabLeak> ReportLeaks()
    {
        List<SlabLeak> leaks = [];
        lock (_lock)
        {
            foreach (SlabPage page in _pages)
            {
                foreach (SlabBlock block in page.Blocks)
                {
                    BlockState state = block.State;
                    if (state != BlockState.Free) leaks.Add(new SlabLeak(block.Capacity, state.ToString(), block.RentedAt));
                }
            }
        }
        return leaks;
    }

    /// <summary>Unmaps the pool's memory; a page with buffers that are still out goes when the last of them comes back.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            if (_disposed) return;
            _disposed = true;
            TakeFrontAway();
            while (_quarantine.TryDequeue(out SlabPage? old)) Drop(old);
            foreach (SlabPage page in _pages.ToArray()) Drop(page);
            Array.Clear(_free);
        }
    }

    /// <summary>The registry is gone, and with it every registration.</summary>
    internal void ForgetRegistry()
    {
        lock (_lock)
        {
            Registry = null;
            foreach (SlabPage page in _pages)
            {
                page.RegisteredIndex = SlabPage.NotRegistered;
                page.IsRefused = false;
            }
        }
    }

    /// <summary>Takes back a block whose life ended.</summary>
    internal void Return(SlabBlock block)
    {
        lock (_lock)
        {
            TakeBack(block);
            if (_front.IsMine) ThinOut(block.SizeClass);
        }
    }

    internal FrozenShare RentShare(SlabBlock block)
    {
        lock (_lock)
        {
            FrozenShare share = _freeShare ?? new FrozenShare(block);
            _freeShare = share.NextFree;
            share.NextFree = null;
            share.Block = block;
            return share;
        }
    }

    internal void ReturnShare(FrozenShare share)
    {
        lock (_lock)
        {
            share.NextFree = _freeShare;
            _freeShare = share;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int ClassOf(int capacity) =>
        capacity <= BlockBytesMin ? 0 : BitOperations.Log2((uint)capacity - 1) + 1 - BitOperations.Log2(BlockBytesMin);

    private bool TryRentFromPool(int capacity, out SlabBuffer buffer)
    {
        string? rentedAt = _options.TraceRents ? Environment.StackTrace : null;
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            SlabBlock? block = Take(capacity);
            if (block is null && !_front.IsMine && TakeFrontAway()) block = Take(capacity);
            if (block is null)
            {
                buffer = default;
                return false;
            }
            Out(block);
            _rents++;
            if (IsFrontMine()) FillFront(block);
            else block.IsForOthers();
            buffer = new SlabBuffer(block, block.Begin(rentedAt));
            return true;
        }
    }

    private void Out(SlabBlock block)
    {
        block.Page.BlockTaken();
        _outstanding++;
    }

    private void TakeBack(SlabBlock block)
    {
        _outstanding--;
        SlabPage page = block.Page;
        if (page.BlockReturned())
        {
            Forget(page);
        }
        else if (_options.GuardPages)
        {
            Quarantine(page);
        }
        else if (block.Capacity > BlockBytesMax)
        {
            Drop(page);
        }
        else if (block.IsWornOut)
        {
            _retired++;
        }
        else
        {
            block.NextFree = _free[block.SizeClass];
            _free[block.SizeClass] = block;
        }
    }

    private SlabBlock? Take(int capacity)
    {
        if (capacity > BlockBytesMax)
        {
            SlabBlock? huge = Map((capacity + Native.Libc.PageBytes - 1) & -Native.Libc.PageBytes, 1)?.Blocks[0];
            if (huge is not null) _hugeRents++;
            return huge;
        }
        int sizeClass = ClassOf(capacity);
        if (_options.GuardPages) return Map(BlockBytesMin << sizeClass, 1)?.Blocks[0];
        if (_free[sizeClass] is null) Grow(sizeClass);
        SlabBlock? block = _free[sizeClass];
        if (block is not null) _free[sizeClass] = block.NextFree;
        return block;
    }

    private void Grow(int sizeClass)
    {
        int blockBytes = BlockBytesMin << sizeClass;
        SlabPage? page = Map(blockBytes, PageBytes / blockBytes);
        if (page is null) return;
        // Backwards, so that blocks go out in the order of their addresses.
        for (int i = page.Blocks.Length - 1; i >= 0; i--)
        {
            page.Blocks[i].NextFree = _free[sizeClass];
            _free[sizeClass] = page.Blocks[i];
        }
    }

    private SlabPage? Map(int blockBytes, int blocks)
    {
        if (_mappedBytes + (long)blockBytes * blocks > _options.BytesMax) return null;
        SlabPage page = _options.GuardPages ? SlabPage.MapGuarded(this, blockBytes) : SlabPage.Map(this, blockBytes, blocks);
        _mappedBytes += page.MappedBytes;
        _pages.Add(page);
        return page;
    }

    private void Quarantine(SlabPage page)
    {
        page.Forbid();
        _pages.Remove(page);
        Registry?.PageGone(page);
        _quarantine.Enqueue(page);
        if (_quarantine.Count > QuarantineMax) Drop(_quarantine.Dequeue());
    }

    private void Drop(SlabPage page)
    {
        if (page.Abandon()) Forget(page);
    }

    private void Forget(SlabPage page)
    {
        _mappedBytes -= page.MappedBytes;
        if (_pages.Remove(page)) Registry?.PageGone(page);
    }
}
