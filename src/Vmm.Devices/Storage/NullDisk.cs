using Vmm.Events;

namespace Vmm.Devices;

/// <summary>A disk that reads as zero and keeps nothing: what is left is the cost of the device itself. Thread-safe.</summary>
/// <param name="bytes">Its size, a multiple of 512.</param>
internal sealed class NullDisk(ulong bytes) : IBlockBackend
{
    public string Description => "null disk";

    public ulong CapacityBytes { get; } = bytes > 0 && bytes % BlockProtocol.SectorSize == 0 ? bytes
        : throw new ArgumentOutOfRangeException(nameof(bytes), bytes, $"give a multiple of {BlockProtocol.SectorSize}");

    public bool IsReadOnly { get; init; }

    public IBlockEngine CreateEngine(IReactor reactor, Action onCompleted) => new InstantBlockEngine(CarryOut);

    public void Dispose()
    {
    }

    private static Errno CarryOut(BlockOperation operation)
    {
        if (operation.Kind == BlockOperationKind.Read)
        {
            foreach (IoVector vector in operation.Vectors)
            {
                for (nuint done = 0; done < vector.Length;)
                {
                    Span<byte> piece = vector.PieceAt(done);
                    piece.Clear();
                    done += (nuint)piece.Length;
                }
            }
        }
        operation.Advance(operation.Remaining);
        return Errno.None;
    }
}
