using System.Runtime.InteropServices;

namespace Vmm.Tool;

/// <summary>
/// What a verified load knows of its part of a disk: how often each block was written, and which are in flight. Each block's bytes follow
/// from its number and that count; one that was never written may hold anything. Used by one thread.
/// </summary>
internal sealed class BlockPattern(long first, long count)
{
    private const ulong Stride = 0x9e3779b97f4a7c15UL;

    private readonly uint[] _writes = new uint[count];
    private readonly bool[] _inFlight = new bool[count];

    /// <summary>Takes a block for a request: two in flight on the same one would have no order.</summary>
    internal bool TryClaim(long block)
    {
        ref bool inFlight = ref _inFlight[block - first];
        if (inFlight) return false;
        return inFlight = true;
    }

    internal void Release(long block) => _inFlight[block - first] = false;

    /// <summary>Makes the bytes of a block that is written once more.</summary>
    internal void Stamp(long block, Span<byte> data)
    {
        ulong seed = SeedOf(block, ++_writes[block - first]);
        foreach (ref ulong word in MemoryMarshal.Cast<byte, ulong>(data)) word = seed += Stride;
    }

    internal bool Matches(long block, ReadOnlySpan<byte> data)
    {
        uint writes = _writes[block - first];
        if (writes == 0) return true;
        ulong seed = SeedOf(block, writes);
        foreach (ulong word in MemoryMarshal.Cast<byte, ulong>(data))
        {
            if (word != (seed += Stride)) return false;
        }
        return true;
    }

    private static ulong SeedOf(long block, uint writes) => ((ulong)block << 32) ^ writes;
}
