namespace Vmm.Events.Buffers;

/// <summary>
/// A rented piece of memory that the kernel may be given. It has one owner: handing it on (into an operation, to <see cref="Freeze"/>)
/// makes every copy of this handle stale, and using a stale one throws <see cref="ObjectDisposedException"/>. Not for use by two threads at
/// once.
/// </summary>
public readonly struct SlabBuffer : IEquatable<SlabBuffer>
{
    private readonly SlabBlock _block;
    private readonly ulong _generation;

    internal SlabBuffer(SlabBlock block, ulong generation)
    {
        _block = block;
        _generation = generation;
    }

    /// <summary>Whether there is no buffer at all: the default value.</summary>
    public bool IsEmpty => _block is null;

    /// <summary>Bytes it has room for; at least what was asked for.</summary>
    public int Capacity => _block.Capacity;

    /// <summary>Its address is a multiple of this: its capacity, up to a page. Enough for O_DIRECT from 512 bytes on.</summary>
    public int Alignment => Math.Min(Capacity, Native.Libc.PageBytes);

    /// <summary>Bytes written since it was rented or cleared, by its owner or the kernel.</summary>
    public int Written => _block.Written(_generation, BlockState.Owned);

    /// <summary>The written bytes. Valid until the buffer is handed on or released.</summary>
    /// <exception cref="ObjectDisposedException">The handle is stale.</exception>
    /// <exception cref="InvalidOperationException">A mutable view is out.</exception>
    public Span<byte> Bytes => _block.WrittenBytes(_generation, BlockState.Owned);

    /// <summary>The bytes after the written ones, zeroed, to be filled and then counted with <see cref="Advance"/>.</summary>
    /// <exception cref="ObjectDisposedException">The handle is stale.</exception>
    /// <exception cref="InvalidOperationException">A mutable view is out.</exception>
    public Span<byte> Room => _block.Room(_generation, BlockState.Owned);

    /// <summary>Copies bytes behind the written ones.</summary>
    /// <exception cref="ArgumentException">They do not fit.</exception>
    public void Append(ReadOnlySpan<byte> bytes) => _block.Append(_generation, bytes);

    /// <summary>Counts bytes of <see cref="Room"/> as written.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There is less room.</exception>
    public void Advance(int count) => _block.Advance(_generation, BlockState.Owned, count);

    /// <summary>Forgets the written bytes.</summary>
    public void Clear()
    {
        _block.Check(_generation, BlockState.Owned);
        _block.SetWritten(0);
    }

    /// <summary>
    /// The buffer as an ordinary <see cref="Memory{T}"/>, for code that knows nothing of slabs. Until the view is disposed, the buffer
    /// itself can't be used. Allocates the view.
    /// </summary>
    /// <exception cref="InvalidOperationException">A mutable view is out.</exception>
    public SlabView OpenView()
    {
        _block.Switch(_generation, BlockState.Owned, BlockState.Viewed);
        return new SlabView(_block, _generation);
    }

    /// <summary>Ends the mutable life of the buffer; what it holds can be shared from now on.</summary>
    /// <param name="count">Bytes to keep, from the start.</param>
    /// <exception cref="ArgumentOutOfRangeException">Fewer bytes are written.</exception>
    public FrozenBuffer Freeze(int count) => _block.Freeze(_generation, count);

    /// <summary>Gives the buffer back to its pool.</summary>
    /// <exception cref="ObjectDisposedException">It was released, frozen or handed on before.</exception>
    public void Release()
    {
        ObjectDisposedException.ThrowIf(_block is null, typeof(SlabBuffer));
        _block.Release(_generation, BlockState.Owned);
    }

    /// <summary>
    /// Hands the buffer to the kernel (invariants A and B), for an <see cref="Rings.IRingEvent{TResult}"/>; the ring's own operations do it
    /// by themselves. This handle is stale then.
    /// </summary>
    /// <exception cref="ObjectDisposedException">The handle is stale.</exception>
    public LentBuffer Lend()
    {
        ObjectDisposedException.ThrowIf(_block is null, typeof(SlabBuffer));
        return new LentBuffer(_block, _block.Move(_generation, BlockState.Owned, BlockState.Lent));
    }

    internal SlabBlock Block => _block;

    /// <inheritdoc/>
    public bool Equals(SlabBuffer other) => _block == other._block && _generation == other._generation;

    /// <inheritdoc/>
    public override bool Equals(object? obj) => obj is SlabBuffer other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(_block, _generation);

    /// <summary>Whether both are the same handle.</summary>
    public static bool operator ==(SlabBuffer left, SlabBuffer right) => left.Equals(right);

    /// <summary>Whether they are different handles.</summary>
    public static bool operator !=(SlabBuffer left, SlabBuffer right) => !left.Equals(right);
}
