namespace Vmm.Tool;

/// <summary>Says which block a ring's next request is for, and whether it writes. Used by one thread.</summary>
internal sealed class BlockCursor
{
    internal const int SectorBytes = 512;

    private readonly BlockAccess _access;
    private readonly long _first;
    private readonly long _count;
    private ulong _random;
    private long _next;

    /// <param name="access">The load.</param>
    /// <param name="first">First block of the ring's part of the disk.</param>
    /// <param name="count">Blocks of it.</param>
    /// <param name="seed">Other than 0.</param>
    internal BlockCursor(BlockAccess access, long first, long count, ulong seed)
    {
        _access = access;
        _first = first;
        _count = count;
        _random = seed * 0x9e3779b97f4a7c15UL;
    }

    internal bool NextIsWrite() => _access switch
    {
        BlockAccess.RandomWrite or BlockAccess.Write => true,
        BlockAccess.RandomReadWrite => (NextRandom() & 1) != 0,
        _ => false,
    };

    internal long Next()
    {
        if (_access is BlockAccess.Read or BlockAccess.Write)
        {
            long block = _next;
            _next = block + 1 == _count ? 0 : block + 1;
            return _first + block;
        }
        return _first + (long)Math.BigMul(NextRandom(), (ulong)_count, out _);
    }

    /// <summary>Marsaglia's xorshift: good enough to spread requests, and nothing beside them in a profile.</summary>
    private ulong NextRandom()
    {
        _random ^= _random << 13;
        _random ^= _random >> 7;
        return _random ^= _random << 17;
    }
}
