namespace Vmm.Devices;

/// <summary>What a request asks for (virtio 1.2 § 5.2.6).</summary>
public enum BlockRequestType : uint
{
    /// <summary>Read sectors.</summary>
    In = 0,
    /// <summary>Write sectors.</summary>
    Out = 1,
    /// <summary>Make what was written durable.</summary>
    Flush = 4,
    /// <summary>Read the device's serial number.</summary>
    GetId = 8,
    /// <summary>Give sectors back: what they read as is undefined.</summary>
    Discard = 11,
    /// <summary>Make sectors read as zero.</summary>
    WriteZeroes = 13,
}

/// <summary>How a request ended: its last writable byte (virtio 1.2 § 5.2.6).</summary>
public enum BlockStatus : byte
{
    /// <summary>Done.</summary>
    Ok = 0,
    /// <summary>Failed, by the host or because it can't be done.</summary>
    IoError = 1,
    /// <summary>The device does not do this.</summary>
    Unsupported = 2,
}

/// <summary>The numbers of the block device's protocol (virtio 1.2 § 5.2).</summary>
internal static class BlockProtocol
{
    internal const int SectorSize = 512;
    internal const int HeaderLength = 16;
    internal const int IdLength = 20;
    internal const int StatusLength = 1;
    internal const int SegmentLength = 16;

    /// <summary>Buffers of a request that hold no data: header and status.</summary>
    internal const int SegmentsBesideData = 2;

    internal const uint SegmentUnmapFlag = 1;

    internal const ulong FeatureSizeMax = 1UL << 1;
    internal const ulong FeatureSegMax = 1UL << 2;
    internal const ulong FeatureReadOnly = 1UL << 5;
    internal const ulong FeatureBlockSize = 1UL << 6;
    internal const ulong FeatureFlush = 1UL << 9;
    internal const ulong FeatureTopology = 1UL << 10;
    internal const ulong FeatureConfigWriteback = 1UL << 11;
    internal const ulong FeatureMultiQueue = 1UL << 12;
    internal const ulong FeatureDiscard = 1UL << 13;
    internal const ulong FeatureWriteZeroes = 1UL << 14;

    // struct virtio_blk_config.
    internal const int ConfigLength = 60;
    internal const int ConfigCapacity = 0;
    internal const int ConfigSizeMax = 8;
    internal const int ConfigSegMax = 12;
    internal const int ConfigBlockSize = 20;
    internal const int ConfigPhysicalBlockExponent = 24;
    internal const int ConfigMinIoSize = 26;
    internal const int ConfigOptIoSize = 28;
    internal const int ConfigWriteback = 32;
    internal const int ConfigQueues = 34;
    internal const int ConfigDiscardSectorsMax = 36;
    internal const int ConfigDiscardSegmentsMax = 40;
    internal const int ConfigDiscardAlignment = 44;
    internal const int ConfigWriteZeroesSectorsMax = 48;
    internal const int ConfigWriteZeroesSegmentsMax = 52;
    internal const int ConfigWriteZeroesMayUnmap = 56;
}
