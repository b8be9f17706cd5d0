namespace Vmm.Devices;

/// <summary>
/// How the image of a disk was when its machine was saved. What is in it is not part of a snapshot: one that was written since does not fit
/// what the guest has in memory.
/// </summary>
/// <param name="Disk">The device.</param>
/// <param name="Bytes">The image's size.</param>
/// <param name="Modified">When it was written last, in nanoseconds since 1970.</param>
/// <param name="IsTemporary">Whether the disk was a copy that is gone with its process.</param>
internal sealed record SavedImage(string Disk, long Bytes, long Modified, bool IsTemporary)
{
    private const string List = "images";
    private const int CountMax = 1024, NameLengthMax = 256;

    /// <summary>The images of a host's disks, by what is at their paths now: neither block devices nor disks elsewhere.</summary>
    internal static List<SavedImage> Of(DeviceHost host)
    {
        List<SavedImage> images = [];
        foreach (HostedDevice hosted in host.Devices)
        {
            if (hosted.Device is not BlockDevice { Backend: RawImage image } disk) continue;
            int fd = FileCalls.Open(image.Path, FileCalls.O_PATH | FileCalls.O_CLOEXEC);
            if (fd < 0) continue;
            using OwnedFd file = new(fd);
            if (MemoryCalls.Stat(fd, out FileStatus status) != Errno.None || !status.IsRegular) continue;
            _ = MemoryCalls.Stat(image.Number, out FileStatus open);
            bool isCopy = (open.Device, open.Inode) != (status.Device, status.Inode);
            images.Add(new SavedImage(disk.Name, status.Size, status.ModifiedNanoseconds, isCopy));
        }
        return images;
    }

    internal static void Write(StateWriter state, IEnumerable<SavedImage> images)
    {
        foreach (SavedImage image in images)
        {
            StateWriter item = state.AddItem(List);
            item.Add("disk", image.Disk);
            item.Add("bytes", image.Bytes);
            item.Add("modified-unix-ns", image.Modified);
            item.Add("temporary", image.IsTemporary);
        }
    }

    internal static SavedImage[] Read(StateReader state) =>
    [
        .. state.Items(List, CountMax).Select(item => new SavedImage(item.Text("disk", NameLengthMax),
            item.Int64("bytes", 0, long.MaxValue), item.Int64("modified-unix-ns", 0, long.MaxValue), item.Boolean("temporary"))),
    ];

    /// <summary>What is another now, in a sentence; null for nothing.</summary>
    internal string? Difference(SavedImage? now)
    {
        if (IsTemporary)
            return $"disk '{Disk}' was temporary when the machine was saved: what its guest wrote is gone; a machine that is to be saved "
                + "needs an image of its own";
        if (now is null || now == this || now with { IsTemporary = false } == this) return null;
        return $"the image of disk '{Disk}' was written after the machine was saved"
            + (now.Bytes == Bytes ? "" : $", and has {now.Bytes} bytes, not {Bytes}")
            + ": what the guest has in memory does not fit it; give the image as it was then";
    }
}
