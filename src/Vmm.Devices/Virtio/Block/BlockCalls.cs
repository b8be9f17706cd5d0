using System.Runtime.CompilerServices;
using Vmm.Events;
using Vmm.Events.Rings;

namespace Vmm.Devices;

/// <summary>A call to the host.</summary>
internal enum BlockCall
{
    /// <summary>None is left: the operation is over.</summary>
    None,
    /// <summary>preadv2(2) into the operation's vectors.</summary>
    Read,
    /// <summary>pwritev2(2) from the operation's vectors.</summary>
    Write,
    /// <summary>fallocate(2) of a range.</summary>
    Allocate,
    /// <summary>Writes zeroes to a range, through the page cache.</summary>
    WriteZeroes,
    /// <summary>fdatasync(2).</summary>
    Sync,
}

/// <summary>
/// The calls that one operation takes, one after the other, and what their errors mean: the same for every engine, which makes them.
/// </summary>
/// <param name="zeroBlock">Bytes; offsets and lengths of what the host zeroes or gives back by itself are multiples of this power of
/// two.</param>
/// <param name="hasDurableWrites">Whether a write can be asked to be durable when it completes; a sync follows it if not.</param>
internal sealed class BlockCalls(uint zeroBlock, bool hasDurableWrites = true)
{
    /// <summary>Most zeroes of one call: a neighbour does not wait for longer.</summary>
    internal const ulong ZeroesMax = 1 << 20;

    private int _segment;
    private int _attempts;
    private bool _hasSynced;
    /// <summary>The file system can't zero ranges by itself.</summary>
    private bool _writesZeroes;

    internal BlockOperation? Operation { get; private set; }

    /// <summary>The next call.</summary>
    internal BlockCall Call { get; private set; }

    /// <summary>Of <see cref="BlockCall.Allocate"/> and <see cref="BlockCall.WriteZeroes"/>: where.</summary>
    internal ulong Offset { get; private set; }

    /// <summary>Of the same: how many bytes; those of <see cref="BlockCall.WriteZeroes"/> may take several calls.</summary>
    internal ulong Length { get; private set; }

    internal FallocateMode Mode { get; private set; }

    /// <summary>How the operation ended, once no call is left.</summary>
    internal Errno Error { get; private set; }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Begin(BlockOperation operation)
    {
        Operation = operation;
        _segment = -1;
        _attempts = 0;
        _hasSynced = _writesZeroes = false;
        Error = Errno.None;
        Plan();
    }

    /// <summary>The operation was handed back.</summary>
    internal void Release() => Operation = null;

    /// <summary>A call was made.</summary>
    /// <param name="result">Bytes of a read or write, 0 of others; or the error, negative.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Ended(long result)
    {
        bool moves = Call is BlockCall.Read or BlockCall.Write or BlockCall.WriteZeroes;
        if (result < 0) Failed((Errno)(-result));
        // The end of the file before the end of the disk: someone cut the image short behind our back.
        else if (result == 0 && moves) End(Errno.InputOutput);
        else Succeeded((ulong)result);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Succeeded(ulong bytes)
    {
        _attempts = 0;
        switch (Call)
        {
            case BlockCall.Read or BlockCall.Write:
                Operation!.Advance(bytes);
                break;
            case BlockCall.WriteZeroes when bytes < Length:
                Offset += bytes;
                Length -= bytes;
                return;
            case BlockCall.Sync:
                _hasSynced = true;
                break;
        }
        Plan();
    }

    private void Failed(Errno error)
    {
        BlockOperationKind kind = Call switch
        {
            BlockCall.Sync => BlockOperationKind.Flush,
            BlockCall.WriteZeroes => BlockOperationKind.Write,
            _ => Operation!.Kind,
        };
        switch (BlockErrors.Remedy(kind, error, ref _attempts))
        {
            case BlockRemedy.Retry: break;
            case BlockRemedy.Accept: Plan(); break;
            case BlockRemedy.WriteZeroes:
                _writesZeroes = true;
                Call = BlockCall.WriteZeroes;
                break;
            default: End(error); break;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Plan()
    {
        BlockOperation operation = Operation!;
        switch (operation.Kind)
        {
            case BlockOperationKind.Read or BlockOperationKind.Write when operation.Remaining == 0:
                PlanSync(operation.IsDurable && !hasDurableWrites);
                break;
            case BlockOperationKind.Read: Call = BlockCall.Read; break;
            case BlockOperationKind.Write: Call = BlockCall.Write; break;
            case BlockOperationKind.Flush: PlanSync(true); break;
            default: PlanSegment(operation); break;
        }
    }

    private void PlanSegment(BlockOperation operation)
    {
        ReadOnlySpan<BlockSegment> segments = operation.Segments;
        while (++_segment < segments.Length)
        {
            BlockSegment segment = segments[_segment];
            bool discards = operation.Kind == BlockOperationKind.Discard;
            (Offset, Length) = discards ? WholeBlocks(segment) : (segment.Offset, segment.Length);
            if (Length == 0) continue;
            Mode = (discards || segment.MayUnmap ? FallocateMode.PunchHole : FallocateMode.ZeroRange) | FallocateMode.KeepSize;
            Call = _writesZeroes || ((Offset | Length) & (zeroBlock - 1)) != 0 ? BlockCall.WriteZeroes : BlockCall.Allocate;
            return;
        }
        // fallocate(2) has no flag for what RWF_DSYNC is to a write.
        PlanSync(operation.IsDurable);
    }

    private void PlanSync(bool wanted)
    {
        if (wanted && !_hasSynced) Call = BlockCall.Sync; else End(Errno.None);
    }

    /// <summary>What can be given back of a range: a block that is only in part in it stays as it is (virtio 1.2 § 5.2.6.2).</summary>
    private (ulong Offset, ulong Length) WholeBlocks(BlockSegment segment)
    {
        ulong start = (segment.Offset + zeroBlock - 1) & ~(ulong)(zeroBlock - 1),
            end = (segment.Offset + segment.Length) & ~(ulong)(zeroBlock - 1);
        return (start, end > start ? end - start : 0);
    }

    private void End(Errno error)
    {
        Call = BlockCall.None;
        Error = error;
    }
}
