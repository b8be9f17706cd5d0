using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// Notices that images of this process get another size, by one thread that sleeps while nothing is written to any of them. Thread-safe.
/// </summary>
/// <remarks>
/// inotify(7) reports each write, the guest's own too. So each image is asked about once, and half a second after the answer it is looked
/// at and asked about again: a busy image costs two events a second, an idle one nothing.
/// </remarks>
internal sealed class SizeWatch
{
    private const int EventBytes = 16 << 10;
    private const int StackBytes = 256 << 10;

    /// <summary>
    /// File systems whose files change through this host's kernel only (statfs(2), f_type): ext4, XFS, Btrfs, tmpfs, F2FS, ZFS,
    /// overlayfs.
    /// </summary>
    private static readonly long[] LocalFileSystems = [0xef53, 0x58465342, 0x9123683e, 0x01021994, 0xf2f52010, 0x2fc12fc1, 0x794c7630];

    private static readonly Lazy<SizeWatch?> OfProcess = new(TryCreate);

    private readonly Lock _lock = new();
    private readonly OwnedFd _queue;
    /// <summary>The images that wait for the event of a watch, by its number: all that are of one file.</summary>
    private readonly Dictionary<int, List<RawImage>> _images = [];

    private SizeWatch(OwnedFd queue) => _queue = queue;

    /// <summary>
    /// The watch of this process, for an image whose changes the kernel reports. Null for block devices, for files that other hosts may
    /// change, and where this user has too many watches.
    /// </summary>
    internal static SizeWatch? For(OwnedFd file)
    {
        if (MemoryCalls.Stat(file.Number, out FileStatus status) != Errno.None || !status.IsRegular) return null;
        if (MemoryCalls.StatFileSystem(file.Number, out FileSystemStatus system) != Errno.None) return null;
        return LocalFileSystems.Contains(system.Type) ? OfProcess.Value : null;
    }

    /// <summary>
    /// Asks about the next write to an image: <see cref="RawImage.WatchAgain"/> is called some time after it. Under the image's lock: its
    /// descriptor is not closed meanwhile.
    /// </summary>
    /// <returns>What <see cref="Remove"/> takes; negative if the kernel has no watch left.</returns>
    internal int Ask(RawImage image, OwnedFd file)
    {
        lock (_lock)
        {
            int watch = InotifyCalls.WatchOnce(_queue, file);
            if (watch < 0) return watch;
            if (!_images.TryGetValue(watch, out List<RawImage>? images)) _images.Add(watch, images = new List<RawImage>(1));
            images.Add(image);
            return watch;
        }
    }

    /// <summary>Takes a question back. Harmless if it was answered.</summary>
    internal void Remove(RawImage image, int watch)
    {
        lock (_lock)
        {
            if (!_images.TryGetValue(watch, out List<RawImage>? images) || !images.Remove(image) || images.Count > 0) return;
            _images.Remove(watch);
            InotifyCalls.Forget(_queue, watch);
        }
    }

    private static SizeWatch? TryCreate()
    {
        if (InotifyCalls.TryCreate() is not { } queue) return null;
        SizeWatch watch = new(queue);
        new Thread(watch.Run, StackBytes) { IsBackground = true, Name = "image sizes" }.Start();
        return watch;
    }

    private void Run()
    {
        byte[] buffer = new byte[EventBytes];
        List<int> watches = [];
        List<RawImage> written = [];
        while (true)
        {
            InotifyCalls.Wait(_queue, buffer, watches);
            written.Clear();
            lock (_lock)
            {
                // Not found: the kernel reports the end of each watch too.
                foreach (int watch in watches) if (_images.Remove(watch, out List<RawImage>? images)) written.AddRange(images);
            }
            if (written.Count == 0) continue;
            // A file that is written anew is empty for a moment: that is no size to report.
            Thread.Sleep(RawImage.BetweenLooks);
            foreach (RawImage image in written) image.WatchAgain();
        }
    }
}
