namespace Vmm.Events.Buffers;

/// <summary>A buffer while the kernel has it. Held by the operation, and turned back into a buffer only by its completion.</summary>
internal readonly struct LentBuffer(SlabBlock block, ulong generation)
{
    internal bool IsEmpty => block is null;

    /// <summary>Where the buffer begins.</summary>
    internal nint Address => block.Address;

    /// <summary>Where the kernel writes: behind what is written already.</summary>
    internal nint RoomAddress => block.Address + Written;

    internal int RoomBytes => block.Capacity - Written;

    internal int Written => block.Written(generation, BlockState.Lent);

    internal SlabBlock Block => block;

    /// <summary>The kernel is done and wrote so many bytes behind the written ones (invariant C).</summary>
    internal SlabBuffer Return(int added)
    {
        int written = Written;
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)added, (uint)(block.Capacity - written));
        block.AddWrittenByKernel(added);
        return new SlabBuffer(block, block.Move(generation, BlockState.Lent, BlockState.Owned));
    }

    /// <summary>The kernel is done and nobody wants the buffer any more.</summary>
    internal void Release() => block.Release(generation, BlockState.Lent);
}
