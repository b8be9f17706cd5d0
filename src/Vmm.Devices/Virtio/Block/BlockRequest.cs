using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vmm.Devices;

/// <summary>What a request may ask of its device: settled when the driver is ready.</summary>
internal sealed record BlockLimits
{
    internal required ulong CapacitySectors { get; init; }
    internal required bool IsReadOnly { get; init; }
    /// <summary>The negotiated features.</summary>
    internal required ulong Features { get; init; }
    /// <summary>
    /// Most bytes one request moves: as many segments of as many bytes as the driver accepted; without bound if it accepted neither limit.
    /// </summary>
    internal required ulong DataBytesMax { get; init; }
    /// <summary>20 bytes, padded with zeros.</summary>
    internal required byte[] Serial { get; init; }

    internal bool Has(ulong feature) => (Features & feature) != 0;
}

/// <summary>What is to be done with a request.</summary>
/// <param name="IsStarted">The operation was prepared and is to be started; otherwise the request is answered now.</param>
/// <param name="Status">The answer.</param>
/// <param name="Written">Bytes written to the writable part from its start, the status left out.</param>
/// <param name="Fault">What the driver did wrong, if it has to be reset for that.</param>
internal readonly record struct BlockVerdict(bool IsStarted, BlockStatus Status, uint Written = 0, GuestFault Fault = default)
{
    internal static BlockVerdict Start => new(true, BlockStatus.Ok);
    internal static BlockVerdict Error => new(false, BlockStatus.IoError);
    internal static BlockVerdict Unsupported => new(false, BlockStatus.Unsupported);
    internal static BlockVerdict Malformed(GuestFault fault) => new(false, BlockStatus.IoError, 0, fault);
}

/// <summary>
/// A request of the block device (virtio 1.2 § 5.2.6): header, data, status. A pure function over its chain: it reads the guest's bytes
/// once, checks every one of them, and prepares an operation that can't touch a sector the disk does not have.
/// </summary>
internal static class BlockRequest
{
    /// <summary>Most segments of one discard or write-zeroes; bounds the memory of an operation.</summary>
    internal const int SegmentsMax = 16;

    /// <summary>Most sectors of one segment to discard: 2 GiB.</summary>
    internal const uint DiscardSectorsMax = 1 << 22;

    /// <summary>Most sectors of one segment to zero: 4 MiB. A host that has to write them must not hold up the others.</summary>
    internal const uint WriteZeroesSectorsMax = 1 << 13;

    internal static readonly GuestFault NoStatus =
        new(GuestFaultKind.Request, "a block request without a writable byte for its status (§ 5.2.6)");
    internal static readonly GuestFault NoHeader =
        new(GuestFaultKind.Request, "a block request whose readable part is shorter than its header (§ 5.2.6)");

    /// <summary>struct virtio_blk_req, its fixed start.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct Header
    {
        internal uint Type;
        internal uint Reserved;
        internal ulong Sector;
    }

    /// <summary>struct virtio_blk_discard_write_zeroes.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct Segment
    {
        internal ulong Sector;
        internal uint Sectors;
        internal uint Flags;
    }

    /// <summary>Decides what to do with a request; prepares the operation if it is to be started.</summary>
    /// <param name="chain">The request.</param>
    /// <param name="limits">What it may ask for.</param>
    /// <param name="durable">Whether what it changes is to be durable when it completes.</param>
    /// <param name="operation">Prepared, if the verdict is to start it.</param>
    internal static BlockVerdict Prepare(DescriptorChain chain, BlockLimits limits, bool durable, BlockOperation operation)
    {
        ChainReader readable = chain.Readable;
        ChainWriter writable = chain.Writable;
        if (!writable.TryCutLast(BlockProtocol.StatusLength, out _)) return BlockVerdict.Malformed(NoStatus);
        if (!readable.TryRead(out Header header)) return BlockVerdict.Malformed(NoHeader);

        switch ((BlockRequestType)header.Type)
        {
            case BlockRequestType.In:
                if (writable.Remaining > limits.DataBytesMax || !IsOnDisk(header.Sector, writable.Remaining, limits))
                    return BlockVerdict.Error;
                operation.PrepareRead(header.Sector * BlockProtocol.SectorSize, writable.Remaining, writable);
                return BlockVerdict.Start;

            case BlockRequestType.Out:
                if (limits.IsReadOnly || readable.Remaining > limits.DataBytesMax || !IsOnDisk(header.Sector, readable.Remaining, limits))
                    return BlockVerdict.Error;
                operation.PrepareWrite(header.Sector * BlockProtocol.SectorSize, readable.Remaining, durable, readable);
                return BlockVerdict.Start;

            case BlockRequestType.Flush when limits.Has(BlockProtocol.FeatureFlush):
                operation.PrepareFlush();
                return BlockVerdict.Start;

            case BlockRequestType.GetId:
                return writable.TryWrite(limits.Serial)
                    ? new BlockVerdict(false, BlockStatus.Ok, BlockProtocol.IdLength)
                    : BlockVerdict.Error;

            case BlockRequestType.Discard when limits.Has(BlockProtocol.FeatureDiscard):
                return PrepareSegments(BlockOperationKind.Discard, readable, limits, durable, operation);

            case BlockRequestType.WriteZeroes when limits.Has(BlockProtocol.FeatureWriteZeroes):
                return PrepareSegments(BlockOperationKind.WriteZeroes, readable, limits, durable, operation);

            default:
                return BlockVerdict.Unsupported;
        }
    }

    private static BlockVerdict PrepareSegments(BlockOperationKind kind, ChainReader payload,
        BlockLimits limits, bool durable, BlockOperation operation)
    {
        ulong count = payload.Remaining / BlockProtocol.SegmentLength;
        if (limits.IsReadOnly || count is 0 or > SegmentsMax || payload.Remaining % BlockProtocol.SegmentLength != 0)
            return BlockVerdict.Error;

        uint sectorsMax = kind == BlockOperationKind.Discard ? DiscardSectorsMax : WriteZeroesSectorsMax;
        uint flagsMask = kind == BlockOperationKind.Discard ? 0 : BlockProtocol.SegmentUnmapFlag;
        Span<BlockSegment> segments = operation.PrepareSegments(kind, (int)count, durable);
        for (int i = 0; i < segments.Length; i++)
        {
            payload.TryRead(out Segment segment);
            if ((segment.Flags & ~flagsMask) != 0) return BlockVerdict.Unsupported;
            ulong length = (ulong)segment.Sectors * BlockProtocol.SectorSize;
            if (segment.Sectors > sectorsMax || !IsOnDisk(segment.Sector, length, limits)) return BlockVerdict.Error;
            segments[i] = new BlockSegment(segment.Sector * BlockProtocol.SectorSize, length, segment.Flags != 0);
        }
        return BlockVerdict.Start;
    }

    /// <summary>
    /// Whether whole sectors are asked for, and all of them exist. Nothing here can overflow: the sector is compared before it is
    /// multiplied.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool IsOnDisk(ulong sector, ulong bytes, BlockLimits limits) =>
        bytes % BlockProtocol.SectorSize == 0
        && sector <= limits.CapacitySectors
        && bytes / BlockProtocol.SectorSize <= limits.CapacitySectors - sector;
}
