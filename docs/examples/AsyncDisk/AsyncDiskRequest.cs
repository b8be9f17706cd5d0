using Vmm.Devices;
using Vmm.Events;
using Vmm.Events.Buffers;

namespace Vmm.Examples;

/// <summary>What a chain asks of the disk: a pure function over the guest's bytes, each of which is read once.</summary>
/// <param name="Kind">What is to be done.</param>
/// <param name="Status">The answer if that can be given at once; <see cref="BlockStatus.Ok"/> if there is something to do first.</param>
/// <param name="Offset">First byte of the image.</param>
/// <param name="Bytes">Bytes to move.</param>
internal readonly record struct AsyncDiskRequest(BlockRequestType Kind, BlockStatus Status, ulong Offset, ulong Bytes)
{
    private const ulong SectorBytes = 512;
    private const int HeaderBytes = 16;
    private const int StatusBytes = 1;

    private static readonly GuestFault Malformed = new(GuestFaultKind.Request,
        "a request without its header, or without a byte for its status (§ 5.2.6)");

    internal static AsyncDiskRequest Parse(DescriptorChain chain, ulong diskBytes, ulong bytesMax)
    {
        ChainReader readable = chain.Readable;
        if (!readable.TryRead(out uint kind) || !readable.TrySkip(sizeof(uint)) || !readable.TryRead(out ulong sector)
            || chain.WritableLength < StatusBytes)
        {
            chain.Queue.Fault(Malformed);
            return new AsyncDiskRequest(BlockRequestType.GetId, BlockStatus.IoError, 0, 0);
        }
        BlockRequestType type = (BlockRequestType)kind;
        if (type is not (BlockRequestType.In or BlockRequestType.Out or BlockRequestType.Flush))
            return new AsyncDiskRequest(type, BlockStatus.Unsupported, 0, 0);
        ulong bytes = type == BlockRequestType.In ? chain.WritableLength - StatusBytes : readable.Remaining;
        // Compared before it is multiplied: nothing here overflows.
        bool isOnDisk = bytes <= bytesMax && bytes % SectorBytes == 0 && sector <= diskBytes / SectorBytes
            && bytes <= diskBytes - sector * SectorBytes;
        return type == BlockRequestType.Flush || isOnDisk
            ? new AsyncDiskRequest(type, BlockStatus.Ok, sector * SectorBytes, bytes)
            : new AsyncDiskRequest(type, BlockStatus.IoError, 0, 0);
    }

    /// <summary>Lists the memory that is still to be moved, as much as the list has room for.</summary>
    internal void Describe(DescriptorChain chain, ulong done, IoVectors vectors)
    {
        Span<IoVector> pieces = stackalloc IoVector[vectors.Capacity];
        int count;
        if (Kind == BlockRequestType.In)
            count = chain.Writable.FillVectors(pieces, done, Bytes - done, out _);
        else
            count = chain.Readable.FillVectors(pieces, HeaderBytes + done, Bytes - done, out _);
        vectors.Clear();
        foreach (IoVector piece in pieces[..count]) piece.AddTo(vectors);
    }

    /// <summary>Writes the status, which is the last writable byte, and gives the chain back.</summary>
    internal void Answer(DescriptorChain chain, Errno error)
    {
        BlockStatus status = error == Errno.None ? Status : BlockStatus.IoError;
        ulong moved = Kind == BlockRequestType.In && status == BlockStatus.Ok ? Bytes : 0;
        ChainWriter writable = chain.Writable;
        bool isWritten = writable.TryCutLast(StatusBytes, out ChainWriter last) && last.TryWrite((byte)status);
        // The used length counts from the start without a gap (virtio 1.2 § 2.7.8.2).
        chain.Queue.Push(chain, isWritten && moved == writable.Remaining ? (uint)moved + StatusBytes : (uint)moved);
    }
}
