using System.Buffers;

namespace Vmm.Events.Buffers;

/// <summary>
/// The one mutable <see cref="Memory{T}"/> of a buffer. Dispose it to use the buffer itself again; a memory kept longer throws
/// <see cref="ObjectDisposedException"/>. Covers the whole capacity; what was not written is zeroed.
/// </summary>
public sealed class SlabView : MemoryManager<byte>
{
    private readonly SlabBlock _block;
    private readonly ulong _generation;
    private int _pins;
    private bool _closed;

    internal SlabView(SlabBlock block, ulong generation)
    {
        _block = block;
        _generation = generation;
        int written = block.Written(generation, BlockState.Viewed);
        _ = block.Room(generation, BlockState.Viewed);
        block.SetWritten(0);
        Written = written;
    }

    /// <summary>Bytes that count as written when the view is disposed.</summary>
    public int Written { get; private set; }

    /// <summary>Says how many bytes, from the start, count as written.</summary>
    /// <exception cref="ArgumentOutOfRangeException">More than the capacity.</exception>
    public void SetWritten(int count)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)count, (uint)_block.Capacity, nameof(count));
        Written = count;
    }

    /// <inheritdoc/>
    public override Span<byte> GetSpan()
    {
        ObjectDisposedException.ThrowIf(_closed, this);
        return _block.Room(_generation, BlockState.Viewed);
    }

    /// <inheritdoc/>
    public override unsafe MemoryHandle Pin(int elementIndex = 0)
    {
        ObjectDisposedException.ThrowIf(_closed, this);
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)elementIndex, (uint)_block.Capacity, nameof(elementIndex));
        Interlocked.Increment(ref _pins);
        // SAFETY: slab memory does not move (invariant A), and the block stays this view's until the last pin is gone.
        return new MemoryHandle((byte*)_block.Address + elementIndex, pinnable: this);
    }

    /// <inheritdoc/>
    /// <exception cref="InvalidOperationException">It was undone before.</exception>
    public override void Unpin()
    {
        if (Interlocked.Decrement(ref _pins) >= 0) return;
        Interlocked.Increment(ref _pins);
        throw new InvalidOperationException("this pin was undone before");
    }

    /// <inheritdoc/>
    /// <exception cref="InvalidOperationException">Part of it is pinned: its address is still in use.</exception>
    protected override void Dispose(bool disposing)
    {
        if (_closed) return;
        if (Volatile.Read(ref _pins) != 0) throw new InvalidOperationException("the view is pinned: unpin it before it is disposed");
        _closed = true;
        _block.SetWritten(Written);
        _block.Switch(_generation, BlockState.Viewed, BlockState.Owned);
    }
}
