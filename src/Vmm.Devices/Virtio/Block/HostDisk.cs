using System.Globalization;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>What a block device of the host says of itself: ioctl(2) and its queue's attributes in sysfs.</summary>
internal sealed record HostDiskAnswers
{
    /// <summary>BLKSSZGET: offsets and lengths of its requests are multiples of this.</summary>
    internal required uint LogicalBlock { get; init; }

    /// <summary>BLKPBSZGET: what it writes at once without reading before.</summary>
    internal required uint PhysicalBlock { get; init; }

    /// <summary>BLKROGET.</summary>
    internal bool IsReadOnly { get; init; }

    /// <summary>BLKGETZONESZ, in sectors; 0 if it is written anywhere.</summary>
    internal uint ZoneSectors { get; init; }

    /// <summary>What it gives back at the least, in bytes; 0 if it gives nothing back.</summary>
    internal uint DiscardGranularity { get; init; }

    /// <summary>Most bytes of one discard; 0 if it gives nothing back.</summary>
    internal ulong DiscardMax { get; init; }
}

/// <summary>How the sectors of an image lie on the host.</summary>
/// <param name="LogicalBlock">The sector size of the configuration space, in bytes.</param>
/// <param name="PhysicalBlock">Bytes that the host reads or writes at the least.</param>
/// <param name="DiscardBlock">Bytes that are given back at the least.</param>
/// <param name="ZeroBlock">Bytes; what the host zeroes by itself is a multiple of it.</param>
internal readonly record struct DiskGeometry(uint LogicalBlock, uint PhysicalBlock, uint DiscardBlock, uint ZeroBlock);

/// <summary>A block device of the host as a disk: what it says, and whether that can be one.</summary>
internal static class HostDisk
{
    private const uint BlockBytesMax = 64 * 1024;
    private const string SysDevices = "/sys/dev/block";

    /// <summary>Asks an open block device.</summary>
    /// <param name="fd">The device.</param>
    /// <param name="number">Its number (stat(2), st_rdev).</param>
    internal static HostDiskAnswers Ask(int fd, ulong number)
    {
        string directory = $"{SysDevices}/{Major(number)}:{Minor(number)}";
        // A partition has no queue of its own.
        string queue = Directory.Exists($"{directory}/queue") ? $"{directory}/queue" : $"{directory}/../queue";
        return new HostDiskAnswers
        {
            LogicalBlock = FileCalls.AskDisk(fd, FileCalls.BLKSSZGET, BlockProtocol.SectorSize),
            PhysicalBlock = FileCalls.AskDisk(fd, FileCalls.BLKPBSZGET, BlockProtocol.SectorSize),
            IsReadOnly = FileCalls.AskDisk(fd, FileCalls.BLKROGET, 0) != 0,
            ZoneSectors = FileCalls.AskDisk(fd, FileCalls.BLKGETZONESZ, 0),
            DiscardGranularity = (uint)Math.Min(Attribute($"{queue}/discard_granularity"), uint.MaxValue),
            DiscardMax = Attribute($"{queue}/discard_max_bytes"),
        };
    }

    /// <summary>Why a block device can't be attached; null if it can.</summary>
    internal static string? WhyNot(HostDiskAnswers answers, bool readOnly)
    {
        if (answers.ZoneSectors != 0)
            return "is a zoned disk, whose zones are written in order only: put a file system or dm-zoned on it, and attach a file or that";
        if (answers.LogicalBlock is < BlockProtocol.SectorSize or > BlockBytesMax || !uint.IsPow2(answers.LogicalBlock))
            return $"has sectors of {answers.LogicalBlock} bytes: they must be a power of two from {BlockProtocol.SectorSize} to "
                + $"{BlockBytesMax}";
        return answers.IsReadOnly && !readOnly ? "is write-protected: attach it read-only, or lift that with blockdev --setrw" : null;
    }

    /// <summary>The geometry of a block device that can be attached.</summary>
    internal static DiskGeometry GeometryOf(HostDiskAnswers answers)
    {
        uint physical = PowerWithin(answers.PhysicalBlock, answers.LogicalBlock);
        uint discard = answers.DiscardMax == 0 ? physical : PowerWithin(answers.DiscardGranularity, answers.LogicalBlock);
        return new DiskGeometry(answers.LogicalBlock, physical, discard, answers.LogicalBlock);
    }

    /// <summary>A number that a device states, within what the configuration space can say of it.</summary>
    private static uint PowerWithin(uint bytes, uint least) =>
        System.Numerics.BitOperations.RoundUpToPowerOf2(Math.Clamp(bytes, least, Math.Max(least, BlockBytesMax)));

    private static ulong Major(ulong number) => ((number >> 8) & 0xfff) | ((number >> 32) & ~0xffful);

    private static ulong Minor(ulong number) => (number & 0xff) | ((number >> 12) & ~0xfful & 0xffffffff);

    private static ulong Attribute(string path)
    {
        try
        {
            return ulong.TryParse(File.ReadAllText(path), NumberStyles.None | NumberStyles.AllowTrailingWhite,
                CultureInfo.InvariantCulture, out ulong value) ? value : 0;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return 0;
        }
    }
}
