using System.Collections.Concurrent;
using Vmm.Events.Buffers;

namespace Vmm.Events.Rings;

public sealed partial class IoRing
{
    private readonly List<SlabPool> _pools = [];
    private readonly PageRegistry _pages = new();
    private readonly Stack<int> _freeBufferSlots = new();
    private int _bufferSlotsUsed;

    /// <summary>
    /// Has the kernel keep the pool's pages mapped for this ring, each from its first use on: reads and writes of its buffers are cheaper
    /// then. Where the kernel refuses (RLIMIT_MEMLOCK, threads) everything works as before.
    /// </summary>
    /// <exception cref="InvalidOperationException">Another ring registers this pool.</exception>
    public void RegisterBuffers(SlabPool pool)
    {
        ArgumentNullException.ThrowIfNull(pool);
        CheckUsable();
        if (pool.Registry == _pages) return;
        if (pool.Registry is not null) throw new InvalidOperationException("another ring registers the buffers of this pool");
        pool.Registry = _pages;
        _pools.Add(pool);
    }

    /// <summary>The number the kernel knows a block's page by; -1 if it does not.</summary>
    private int BufferIndexOf(SlabBlock block)
    {
        SlabPage page = block.Page;
        if (block.Pool.Registry != _pages) return SlabPage.NotRegistered;
        if (page.RegisteredIndex != SlabPage.NotRegistered || page.IsRefused) return page.RegisteredIndex;
        while (_pages.Gone.TryDequeue(out int gone))
        {
            _engine.TryRegisterBuffer(gone, 0, 0);
            _freeBufferSlots.Push(gone);
        }
        if (!_freeBufferSlots.TryPop(out int slot))
        {
            if (_bufferSlotsUsed == _options.BuffersMax) return SlabPage.NotRegistered;
            slot = _bufferSlotsUsed++;
        }
        if (_engine.TryRegisterBuffer(slot, page.Address, page.Bytes))
        {
            page.RegisteredIndex = slot;
        }
        else
        {
            page.IsRefused = true;
            _freeBufferSlots.Push(slot);
        }
        return page.RegisteredIndex;
    }

    private void ReleaseBuffers()
    {
        foreach (SlabPool pool in _pools) pool.ForgetRegistry();
    }

    private sealed class PageRegistry : IPageRegistry
    {
        internal ConcurrentQueue<int> Gone { get; } = new();

        public void PageGone(SlabPage page)
        {
            if (page.RegisteredIndex != SlabPage.NotRegistered) Gone.Enqueue(page.RegisteredIndex);
        }
    }
}
