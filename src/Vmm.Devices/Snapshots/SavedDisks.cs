namespace Vmm.Devices;

/// <summary>
/// The images of a machine's disks as they were at the moment at which it was saved: copies beside its memory. Where the file system can
/// share blocks, a copy takes no time and no room.
/// </summary>
internal sealed class SavedDisks
{
    /// <summary>What the file of a disk is called: this and the disk's name.</summary>
    internal const string Prefix = "disk-";

    private readonly BlockDevice[] _disks;

    /// <summary>Those of a host that are to be copied: all but those that nothing is written to.</summary>
    /// <exception cref="IOException">One is no file.</exception>
    internal SavedDisks(DeviceHost host)
    {
        IEnumerable<BlockDevice> all = host.Devices.Select(hosted => hosted.Device).OfType<BlockDevice>();
        _disks = [.. all.Where(disk => !disk.Backend.IsReadOnly)];
        foreach (BlockDevice disk in _disks)
        {
            if (disk.Backend is not RawImage image || MemoryCalls.Stat(image.Number, out FileStatus status) != Errno.None
                || !status.IsRegular)
                throw new IOException($"disk '{disk.Name}' ({disk.Backend.Description}) cannot be copied, as it is no file: save the "
                    + "machine without its disks, and copy this one where it is kept");
            if (disk.Name.Contains('/', StringComparison.Ordinal))
                throw new IOException($"disk '{disk.Name}' has a name that no file may have: name it without '/'");
            // What is written already does not keep the machine waiting.
            _ = FileCalls.Flush(image.Number);
        }
    }

    /// <summary>
    /// Copies the images, and notes how the copies are in place of how the images are. Their machine stands still, with nothing in flight.
    /// </summary>
    /// <returns>Bytes that had to be copied, since the file system does not share blocks.</returns>
    /// <exception cref="IOException">The host refuses, or has no room.</exception>
    internal long Copy(SnapshotDirectory target, List<SavedImage> images)
    {
        long copied = 0;
        foreach (BlockDevice disk in _disks)
        {
            RawImage image = (RawImage)disk.Backend;
            _ = MemoryCalls.Stat(image.Number, out FileStatus status);
            OwnedFd file = target.Create(Prefix + disk.Name);
            copied += TemporaryCopy.Fill(file, image.CachedNumber, status.Size);
            _ = MemoryCalls.Stat(file.Number, out status);
            images.RemoveAll(each => each.Disk == disk.Name);
            images.Add(new SavedImage(disk.Name, status.Size, status.ModifiedNanoseconds, IsTemporary: false));
        }
        return copied;
    }
}
