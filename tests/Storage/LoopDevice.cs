using System.Globalization;

namespace Vmm.Tests;

/// <summary>A block device of the host over a file (losetup(8)); needs the right to make one.</summary>
internal sealed class LoopDevice : IDisposable
{
    private bool _hasPartition;

    internal LoopDevice(string file, int sectorBytes = 512)
    {
        (int code, string output) = HostCommand.Run("losetup", "--find", "--show", "-b", sectorBytes.ToString(CultureInfo.InvariantCulture), file);
        Assert.SkipUnless(code == 0, $"a loop device can be made by root only, with losetup: {output}");
        Path = output.Trim();
    }

    internal string Path { get; }

    /// <summary>Makes a partition, whatever the disk's own table says.</summary>
    /// <returns>Its device.</returns>
    internal string AddPartition(long firstSector, long sectors)
    {
        HostCommand.Check("addpart", Path, "1", firstSector.ToString(CultureInfo.InvariantCulture), sectors.ToString(CultureInfo.InvariantCulture));
        _hasPartition = true;
        return $"{Path}p1";
    }

    public void Dispose()
    {
        if (_hasPartition) HostCommand.Check("delpart", Path, "1");
        HostCommand.Check("losetup", "--detach", Path);
    }
}
