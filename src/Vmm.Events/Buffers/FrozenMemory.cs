using System.Buffers;

namespace Vmm.Events.Buffers;

/// <summary>
/// What stands behind the <see cref="ReadOnlyMemory{T}"/> of one share, and goes dead with it. A pin is an owner of the block like a share:
/// the bytes stay until the last pin is undone, also when the share was released before (invariant D).
/// </summary>
internal sealed class FrozenMemory(SlabBlock block) : MemoryManager<byte>
{
    private volatile bool _closed;
    private int _pins;

    internal void Close() => _closed = true;

    public override Span<byte> GetSpan()
    {
        CheckOpen();
        return block.AllFrozenBytes();
    }

    public override unsafe MemoryHandle Pin(int elementIndex = 0)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)elementIndex, (uint)block.Capacity, nameof(elementIndex));
        CheckOpen();
        // Counted first and looked at again after that: the share may be released by another thread in between, and the block may have a
        // new life.
        block.AddShare();
        if (_closed)
        {
            block.DropShare();
            CheckOpen();
        }
        Interlocked.Increment(ref _pins);
        // SAFETY: slab memory does not move (invariant A), and the pin is counted as an owner of the block until it is undone.
        return new MemoryHandle((byte*)block.Address + elementIndex, pinnable: this);
    }

    public override void Unpin()
    {
        if (Interlocked.Decrement(ref _pins) < 0)
        {
            Interlocked.Increment(ref _pins);
            throw new InvalidOperationException("this pin was undone before");
        }
        block.DropShare();
    }

    protected override void Dispose(bool disposing) => _closed = true;

    private void CheckOpen()
    {
        if (_closed) throw new ObjectDisposedException(nameof(FrozenBuffer), "the share behind this memory was released");
    }
}
