namespace Vmm.Events.Buffers;

/// <summary>
/// Mapped memory that is cut into blocks of one size (invariant A). Counted: it is unmapped when its pool let go of it and no block of it
/// is out any more. Its members are called under the pool's lock.
/// </summary>
internal sealed class SlabPage
{
    private readonly nint _mapping;
    private readonly nuint _mappedBytes;
    private int _out;
    private bool _abandoned;
    private bool _unmapped;

    private SlabPage(nint mapping, nuint mappedBytes, nint address, int bytes)
    {
        _mapping = mapping;
        _mappedBytes = mappedBytes;
        Address = address;
        Bytes = bytes;
    }

    /// <summary>The first block's address.</summary>
    internal nint Address { get; }

    /// <summary>Bytes of all blocks together.</summary>
    internal int Bytes { get; }

    /// <summary>Bytes mapped, guard pages included.</summary>
    internal long MappedBytes => (long)_mappedBytes;

    /// <summary>
    /// The number the pool's ring knows this page by as a registered buffer; -1 if it does not. Set on the ring's thread.
    /// </summary>
    internal int RegisteredIndex { get; set; } = NotRegistered;

    internal const int NotRegistered = -1;

    /// <summary>Whether its registration was refused: it is not asked for again.</summary>
    internal bool IsRefused { get; set; }

    /// <summary>The blocks, in the order of their addresses.</summary>
    internal SlabBlock[] Blocks { get; private set; } = [];

    internal static SlabPage Map(SlabPool pool, int blockBytes, int blocks)
    {
        int bytes = RoundToPages(blockBytes * blocks);
        nint mapping = Libc.MapPages((nuint)bytes);
        return new SlabPage(mapping, (nuint)bytes, mapping, bytes).Cut(pool, blockBytes, blocks);
    }

    /// <summary>One block that ends where an inaccessible page begins.</summary>
    internal static SlabPage MapGuarded(SlabPool pool, int blockBytes)
    {
        int bytes = RoundToPages(blockBytes);
        nuint mapped = (nuint)bytes + 2 * Libc.PageBytes;
        nint mapping = Libc.MapPages(mapped);
        nint data = mapping + Libc.PageBytes;
        Libc.ForbidPages(mapping, Libc.PageBytes);
        Libc.ForbidPages(data + bytes, Libc.PageBytes);
        return new SlabPage(mapping, mapped, data + (bytes - blockBytes), blockBytes).Cut(pool, blockBytes, 1);
    }

    internal void BlockTaken() => _out++;

    /// <summary>A block came back.</summary>
    /// <returns>True if it was the last one of an abandoned page, which is unmapped now.</returns>
    internal bool BlockReturned()
    {
        _out--;
        return UnmapIfUnused();
    }

    /// <summary>The pool lets go of the page.</summary>
    /// <returns>True if it is unmapped now; else it will be with its last block.</returns>
    internal bool Abandon()
    {
        _abandoned = true;
        return UnmapIfUnused();
    }

    /// <summary>Makes every access to the page fault, for good.</summary>
    internal void Forbid() => Libc.ForbidPages(_mapping, _mappedBytes);

    private bool UnmapIfUnused()
    {
        if (!_abandoned || _out > 0 || _unmapped) return false;
        _unmapped = true;
        Libc.UnmapPages(_mapping, _mappedBytes);
        return true;
    }

    private SlabPage Cut(SlabPool pool, int blockBytes, int blocks)
    {
        Blocks = new SlabBlock[blocks];
        for (int i = 0; i < blocks; i++) Blocks[i] = new SlabBlock(pool, this, Address + i * blockBytes, blockBytes);
        return this;
    }

    private static int RoundToPages(int bytes) => (bytes + Libc.PageBytes - 1) & -Libc.PageBytes;
}
