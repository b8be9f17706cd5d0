using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// A disk in memory, all zero at first and gone when it is closed. Memory is taken when a sector is first written, and given back by a
/// discard. Thread-safe.
/// </summary>
public sealed class MemoryDisk : IBlockBackend
{
    private readonly GuestMemory _sectors;

    /// <summary>Makes a disk.</summary>
    /// <param name="bytes">Its size, a multiple of 512.</param>
    /// <exception cref="IOException">The host has not that much address space.</exception>
    public MemoryDisk(ulong bytes)
    {
        if (bytes == 0 || bytes % BlockProtocol.SectorSize != 0)
            throw new ArgumentOutOfRangeException(nameof(bytes), bytes, $"give a multiple of {BlockProtocol.SectorSize}");
        CapacityBytes = bytes;
        ulong page = (ulong)Environment.SystemPageSize;
        _sectors = GuestMemory.Create((bytes + page - 1) / page * page);
    }

    /// <inheritdoc/>
    public string Description => "memory disk";

    /// <inheritdoc/>
    public ulong CapacityBytes { get; }

    /// <inheritdoc/>
    public bool IsReadOnly { get; init; }

    /// <inheritdoc/>
    public uint DiscardBlockBytes => (uint)Environment.SystemPageSize;

    /// <inheritdoc/>
    public IBlockEngine CreateEngine(IReactor reactor, Action onCompleted) => new InstantBlockEngine(CarryOut);

    /// <inheritdoc/>
    public void Dispose() => _sectors.Dispose();

    private Errno CarryOut(BlockOperation operation) => operation.Kind switch
    {
        BlockOperationKind.Flush => Errno.None,
        BlockOperationKind.Read or BlockOperationKind.Write => Move(operation, operation.Kind == BlockOperationKind.Write),
        _ => Clear(operation),
    };

    private Errno Move(BlockOperation operation, bool writes)
    {
        ulong at = operation.Offset;
        foreach (IoVector vector in operation.Vectors)
        {
            for (nuint done = 0; done < vector.Length;)
            {
                Span<byte> piece = vector.PieceAt(done);
                bool moved = writes ? _sectors.TryWrite(at, piece) : _sectors.TryRead(at, piece);
                if (!moved) return Errno.InputOutput;
                done += (nuint)piece.Length;
                at += (ulong)piece.Length;
            }
        }
        operation.Advance(operation.Remaining);
        return Errno.None;
    }

    /// <summary>Gives back the pages of the ranges, and zeroes what is less than a page of them.</summary>
    private Errno Clear(BlockOperation operation)
    {
        ulong page = (ulong)Environment.SystemPageSize;
        foreach (BlockSegment segment in operation.Segments)
        {
            ulong end = segment.Offset + segment.Length;
            ulong firstPage = Math.Min((segment.Offset + page - 1) / page * page, end), lastPage = Math.Max(end / page * page, firstPage);
            bool cleared = Zero(segment.Offset, firstPage)
                && (firstPage == lastPage || _sectors.TryDiscard(firstPage, lastPage - firstPage)) && Zero(lastPage, end);
            if (!cleared) return Errno.InputOutput;
        }
        return Errno.None;
    }

    private bool Zero(ulong from, ulong to) =>
        from == to || _sectors.TryWrite(from, BlockZeroes.Some(to - from));
}
