namespace Vmm.Events.Buffers;

/// <summary>One owner's share of a frozen block. Reused: its generation distinguishes its lives (invariant D).</summary>
internal sealed class FrozenShare
{
    private ulong _generation;
    private FrozenMemory? _memory;

    internal FrozenShare(SlabBlock block) => Block = block;

    /// <summary>The block it is a share of; changes only between two lives.</summary>
    internal SlabBlock Block { get; set; }

    internal FrozenShare? NextFree { get; set; }

    internal ulong Begin() => Volatile.Read(ref _generation);

    internal void Check(ulong generation)
    {
        if (Volatile.Read(ref _generation) != generation) ThrowStale();
    }

    /// <summary>Hands the stake on: copies of the earlier handle are stale.</summary>
    internal ulong Take(ulong generation)
    {
        ulong next = generation + 1;
        if (!Block.TryChange(ref _generation, generation, next)) ThrowStale();
        return next;
    }

    /// <summary>Takes <see cref="Take"/> back, which gave this generation. It was not handed to other code.</summary>
    internal void UndoTake(ulong generation) => Volatile.Write(ref _generation, generation - 1);

    internal FrozenMemory Memory(ulong generation)
    {
        Check(generation);
        return _memory ??= new FrozenMemory(Block);
    }

    internal void Release(ulong generation)
    {
        // A memory of it is closed by its other owner.
        if (_memory is null && Block.TryReleaseOnlyShareAsOwner(this, ref _generation, generation)) return;
        ReleaseToPool(generation);
    }

    private void ReleaseToPool(ulong generation)
    {
        Take(generation);
        _memory?.Close();
        _memory = null;
        SlabBlock block = Block;
        if (this != block.FirstShare) block.ReturnShare(this);
        block.DropShare();
    }

    private static void ThrowStale() =>
        throw new ObjectDisposedException(nameof(FrozenBuffer), "this handle is stale: its share was released or handed on");
}
