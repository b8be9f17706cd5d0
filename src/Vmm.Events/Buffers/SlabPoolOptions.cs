namespace Vmm.Events.Buffers;

/// <summary>How a pool of slabs behaves. Read once, when the pool is made.</summary>
public sealed record SlabPoolOptions
{
    /// <summary>Most bytes the pool may map, huge buffers included.</summary>
    public long BytesMax { get; init; } = 1L << 30;

    /// <summary>
    /// For finding faults: each buffer has pages of its own and ends at an inaccessible page, and a released buffer may not be
    /// touched at all. Slow, and it never reuses memory.
    /// </summary>
    public bool GuardPages { get; init; }

    /// <summary>For finding leaks: remember the call stack of each rent.</summary>
    public bool TraceRents { get; init; }

    internal void Validate() => ArgumentOutOfRangeException.ThrowIfLessThan(BytesMax, SlabPool.PageBytes);
}

/// <summary>What a pool holds now, and did since it was made.</summary>
/// <param name="Pages">Slab pages mapped.</param>
/// <param name="MappedBytes">Bytes mapped, huge buffers included.</param>
/// <param name="Outstanding">Buffers rented and not released, in any state.</param>
/// <param name="Rents">Buffers rented.</param>
/// <param name="HugeRents">Of those, buffers too large for a slab.</param>
/// <param name="Retired">Blocks never used again because their generations are used up.</param>
internal readonly record struct SlabPoolStatistics(int Pages, long MappedBytes, int Outstanding, long Rents, long HugeRents, int Retired);

/// <summary>A buffer that was rented and not released.</summary>
/// <param name="Capacity">Its size in bytes.</param>
/// <param name="State">What it is: owned, viewed, lent to the kernel or frozen.</param>
/// <param name="RentedAt">The call stack of its rent; null unless <see cref="SlabPoolOptions.TraceRents"/> is on.</param>
public sealed record SlabLeak(int Capacity, string State, string? RentedAt);
