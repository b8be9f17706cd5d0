using System.Buffers;

namespace Vmm.Events.Buffers;

/// <summary>What stands behind the <see cref="ReadOnlyMemory{T}"/> of one share, and goes dead with it.</summary>
internal sealed class FrozenMemory(SlabBlock block) : MemoryManager<byte>
{
    private volatile bool _closed;

    internal void Close() => _closed = true;

    public override Span<byte> GetSpan()
    {
        CheckOpen();
        return block.AllFrozenBytes();
    }

    public override unsafe MemoryHandle Pin(int elementIndex = 0)
    {
        CheckOpen();
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)elementIndex, (uint)block.Capacity, nameof(elementIndex));
        // SAFETY: slab memory does not move (invariant A); it is the holder of the share who keeps it from being reused.
        return new MemoryHandle((byte*)block.Address + elementIndex);
    }

    public override void Unpin()
    {
    }

    protected override void Dispose(bool disposing) => _closed = true;

    private void CheckOpen()
    {
        if (_closed) throw new ObjectDisposedException(nameof(FrozenBuffer), "the share behind this memory was released");
    }
}
