namespace Vmm.Devices;

/// <summary>Memory of our own that does not move, so that pieces of it can be handed to the kernel beside those of a guest.</summary>
internal sealed class PinnedBytes(int length)
{
    private readonly byte[] _bytes = GC.AllocateArray<byte>(length, pinned: true);

    internal int Length => _bytes.Length;

    internal Span<byte> AsSpan() => _bytes;

    internal Span<byte> AsSpan(int start) => _bytes.AsSpan(start);

    internal Span<byte> AsSpan(int start, int count) => _bytes.AsSpan(start, count);

    /// <summary>A part as the kernel takes it. The caller keeps this object until the call is over.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The part does not lie inside.</exception>
    internal unsafe IoVector Piece(int start, int count)
    {
        Span<byte> part = AsSpan(start, count);
        // SAFETY: the array is on the pinned object heap, and the part was cut with a check of its bounds.
        return new IoVector((nint)Unsafe.AsPointer(ref MemoryMarshal.GetReference(part)), (nuint)count);
    }
}
