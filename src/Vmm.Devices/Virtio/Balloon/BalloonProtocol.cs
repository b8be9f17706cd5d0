using System.Runtime.InteropServices;

namespace Vmm.Devices;

/// <summary>The numbers of the balloon device's protocol (virtio 1.2 § 5.5).</summary>
internal static class BalloonProtocol
{
    internal const ulong FeatureStatistics = 1UL << 1;
    internal const ulong FeatureDeflateOnOom = 1UL << 2;
    internal const ulong FeaturePagePoison = 1UL << 4;
    internal const ulong FeatureReporting = 1UL << 5;

    internal const int InflateQueue = 0;
    internal const int DeflateQueue = 1;

    // struct virtio_balloon_config.
    internal const int ConfigLength = 16;
    internal const int ConfigTarget = 0;
    internal const int ConfigActual = 4;
    internal const int ConfigPoison = 12;

    /// <summary>What a page number counts, whatever the guest's own pages are.</summary>
    internal const ulong PageBytes = 4096;
}

/// <summary>struct virtio_balloon_stat: a tag and a value, packed.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct BalloonStatisticEntry
{
    internal BalloonStatistic Tag;
    internal ulong Value;
}

/// <summary>What a guest reports of its memory (virtio 1.2 § 5.5.6.3). Amounts are bytes, the others counts.</summary>
public enum BalloonStatistic : ushort
{
    /// <summary>Read from swap.</summary>
    SwapInBytes = 0,
    /// <summary>Written to swap.</summary>
    SwapOutBytes = 1,
    /// <summary>Page faults that had to read.</summary>
    MajorFaults = 2,
    /// <summary>Page faults that had not.</summary>
    MinorFaults = 3,
    /// <summary>Memory not used for anything.</summary>
    FreeBytes = 4,
    /// <summary>Memory in all.</summary>
    TotalBytes = 5,
    /// <summary>Memory that could be used without swapping.</summary>
    AvailableBytes = 6,
    /// <summary>Disk caches, which could be given up.</summary>
    DiskCacheBytes = 7,
    /// <summary>Huge pages that were had.</summary>
    HugePageAllocations = 8,
    /// <summary>Huge pages that were not to be had.</summary>
    HugePageFailures = 9,
}
