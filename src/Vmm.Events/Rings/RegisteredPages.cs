using System.Collections.Concurrent;
using Vmm.Events.Buffers;

namespace Vmm.Events.Rings;

/// <summary>The pages of slab pools that the engine keeps mapped for a ring, each from its first use on.</summary>
internal sealed class RegisteredPages(RegisteredBuffers buffers) : IPageRegistry
{
    private readonly List<SlabPool> _pools = [];
    private readonly ConcurrentQueue<int> _gone = new();

    /// <summary>Registers the pages of a pool from now on.</summary>
    internal void Add(SlabPool pool)
    {
        if (pool.Registry == this) return;
        if (pool.Registry is not null) throw new InvalidOperationException("another ring registers the buffers of this pool");
        pool.Registry = this;
        _pools.Add(pool);
    }

    /// <summary>The number the kernel knows a block's page by; -1 if it does not.</summary>
    internal int IndexOf(SlabBlock block)
    {
        SlabPage page = block.Page;
        if (block.Pool.Registry != this) return SlabPage.NotRegistered;
        if (page.RegisteredIndex != SlabPage.NotRegistered || page.IsRefused) return page.RegisteredIndex;
        while (_gone.TryDequeue(out int gone)) buffers.Remove(gone);
        Errno errno = buffers.Add(page.Address, page.Bytes, out int slot);
        if (errno == Errno.None) page.RegisteredIndex = slot;
        // A slot may become free later.
        else page.IsRefused = errno != Errno.NoSpace;
        return page.RegisteredIndex;
    }

    /// <summary>Lets the pools go to another ring.</summary>
    internal void Release()
    {
        foreach (SlabPool pool in _pools) pool.ForgetRegistry();
    }

    public void PageGone(SlabPage page)
    {
        if (page.RegisteredIndex != SlabPage.NotRegistered) _gone.Enqueue(page.RegisteredIndex);
    }
}
