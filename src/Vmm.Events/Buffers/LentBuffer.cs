using System.Diagnostics.CodeAnalysis;

namespace Vmm.Events.Buffers;

/// <summary>
/// A buffer while the kernel has it (invariants A and B). The operation holds it, and its completion turns it back into a
/// <see cref="SlabBuffer"/>. Used like that, on the reactor's thread, once: a copy of it is stale after that, and throws
/// <see cref="ObjectDisposedException"/>.
/// </summary>
[SuppressMessage("Performance", "CA1815:Override equals and operator equals on value types",
    Justification = "It is held by one operation, not compared.")]
public readonly struct LentBuffer
{
    private readonly SlabBlock _block;
    private readonly ulong _generation;

    internal LentBuffer(SlabBlock block, ulong generation)
    {
        _block = block;
        _generation = generation;
    }

    /// <summary>Whether there is no buffer at all: the default value.</summary>
    public bool IsEmpty => _block is null;

    /// <summary>Where the buffer begins.</summary>
    public nint Address => _block.Address;

    /// <summary>Where the kernel writes: behind what is written already.</summary>
    public nint RoomAddress => _block.Address + Written;

    /// <summary>Bytes of room there.</summary>
    public int RoomBytes => _block.Capacity - Written;

    /// <summary>Bytes that were written before it was lent.</summary>
    public int Written => _block.Written(_generation, BlockState.Lent);

    internal SlabBlock Block => _block;

    /// <summary>
    /// The kernel is done and wrote so many bytes behind the written ones, which count as written from now on (invariant C).
    /// </summary>
    /// <exception cref="ArgumentOutOfRangeException">There was less room.</exception>
    public SlabBuffer Return(int added)
    {
        int written = Written;
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)added, (uint)(_block.Capacity - written));
        _block.AddWrittenByKernel(added);
        return new SlabBuffer(_block, _block.Move(_generation, BlockState.Lent, BlockState.Owned));
    }

    /// <summary>
    /// Takes <see cref="SlabBuffer.Lend"/> back: the operation did not begin, and the handle that was lent is good again.
    /// </summary>
    internal void UndoLend() => _block.UndoMove(_generation, BlockState.Lent, BlockState.Owned);

    /// <summary>The kernel is done, and the buffer goes back to its pool.</summary>
    public void Release() => _block.Release(_generation, BlockState.Lent);
}
