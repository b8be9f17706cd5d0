using System.Numerics;

namespace Vmm.Devices.Simulation;

/// <summary>
/// Hands out guest memory as a guest's kernel would, for the driver side: blocks of a power of two, recycled by size. Used by one thread.
/// </summary>
internal sealed class GuestAllocator
{
    private const int SmallestShift = 4;
    private const ulong PageLength = 4096;

    private readonly Stack<ulong>[] _free = new Stack<ulong>[64];
    private readonly ulong _end;
    private ulong _next;

    /// <param name="start">Guest address of the first byte it may hand out.</param>
    /// <param name="length">Bytes it may hand out.</param>
    internal GuestAllocator(ulong start, ulong length)
    {
        _next = start;
        _end = checked(start + length);
    }

    /// <summary>Guest address from which on nothing was handed out yet.</summary>
    internal ulong Unused => _next;

    /// <summary>Takes a block, aligned to the smaller of its rounded length and a page. Its content is whatever was there.</summary>
    /// <exception cref="InvalidOperationException">There is not enough guest memory left.</exception>
    internal ulong Allocate(uint bytes)
    {
        int shift = ShiftOf(bytes);
        if (_free[shift] is { Count: > 0 } free) return free.Pop();
        ulong length = 1UL << shift, alignment = Math.Min(length, PageLength);
        ulong start = (_next + alignment - 1) & ~(alignment - 1);
        if (start + length > _end) throw new InvalidOperationException($"no {bytes} bytes left of the guest memory for buffers");
        _next = start + length;
        return start;
    }

    /// <summary>Gives a block back.</summary>
    /// <param name="address">What <see cref="Allocate"/> returned.</param>
    /// <param name="bytes">What it was asked for.</param>
    internal void Free(ulong address, uint bytes) => (_free[ShiftOf(bytes)] ??= new Stack<ulong>()).Push(address);

    private static int ShiftOf(uint bytes) =>
        Math.Max(SmallestShift, BitOperations.Log2(BitOperations.RoundUpToPowerOf2((ulong)Math.Max(bytes, 1))));
}
