using System.Diagnostics;
using System.Numerics;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <content>Opening: what can be a disk, and what this host uses already.</content>
public sealed partial class RawImage
{
    private const int PhysicalBlockBytesMax = 64 * 1024;
    private const int BusyRetryMs = 50;

    /// <summary>Opens and locks an image.</summary>
    /// <param name="path">The image.</param>
    /// <param name="readOnly">Whether it takes no writes.</param>
    /// <param name="engine">What moves its bytes.</param>
    /// <param name="direct">Whether its bytes go past the host's page cache (O_DIRECT, open(2)).</param>
    /// <param name="dontCache">
    /// Whether the page cache keeps nothing of a request that was not there before, where the kernel and the file system can do that
    /// (RWF_DONTCACHE, preadv2(2)).
    /// </param>
    /// <exception cref="DiskImageException">It can't be used as a disk: missing, a directory, not permitted, empty, of odd size, or in
    /// use.</exception>
    public static RawImage Open(string path, bool readOnly = false, BlockEngineKind engine = BlockEngineKind.Ring, bool direct = false,
        bool dontCache = false) =>
        OpenFor(path, new ImageUse(readOnly, engine, direct, dontCache, ImageLock.UnknownHolderWaitMax));

    /// <inheritdoc cref="Open"/>
    internal static RawImage OpenFor(string path, ImageUse use) => OpenAt(path, path, use);

    /// <summary>
    /// Opens a copy of an image that is gone when it is closed: the image stays as it is, whatever is written. Others may read the image
    /// meanwhile, and write it once this has returned. Where the file system can share blocks the copy costs nothing until it is written.
    /// </summary>
    /// <inheritdoc cref="Open" path="/param"/>
    /// <exception cref="DiskImageException">As <see cref="Open"/>; or there is no room for a copy, or it is not a regular file.</exception>
    public static RawImage OpenTemporary(string path, BlockEngineKind engine = BlockEngineKind.Ring, bool direct = false,
        bool dontCache = false) =>
        OpenTemporaryFor(path, new ImageUse(ReadOnly: false, engine, direct, dontCache, ImageLock.UnknownHolderWaitMax));

    /// <inheritdoc cref="OpenTemporary"/>
    internal static RawImage OpenTemporaryFor(string path, ImageUse use)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        using OwnedFd image = OpenFile(path, path, readOnly: true);
        FileStatus status = StatusOf(path, image);
        if (status.IsBlockDevice)
            throw new DiskImageException(
                $"disk image '{path}' is a block device, which is not copied: leave out 'temporary', or name a file");
        // What is no file at all is refused in the usual words.
        if (!status.IsRegular) return OpenAt(path, path, use with { ReadOnly = true });
        Lock(path, image, exclusive: false, use.LockWait);
        (OwnedFd copy, long copied) = TemporaryCopy.Of(path, image, status.Size);
        using (copy)
        {
            RawImage opened = OpenAt(path, $"/proc/self/fd/{copy.Number}", use);
            opened.CopiedBytes = copied;
            return opened;
        }
    }

    /// <summary>Makes an image as a copy of another file, unless it is there.</summary>
    /// <param name="path">The image.</param>
    /// <param name="from">The other file. Nothing writes it meanwhile.</param>
    /// <param name="lockWait">How long it is waited for while it is locked by what no process shows.</param>
    /// <returns>Bytes that were copied; 0 where the file system shares blocks.</returns>
    /// <exception cref="IOException">The other one is no file or in use, or there is no room.</exception>
    internal static long MakeOf(string path, string from, TimeSpan lockWait)
    {
        if (MemoryCalls.StatPath(path, out _) == Errno.None) return 0;
        // In a sandbox the broker made it, and its path is not seen from here.
        int made = BrokerLink.Current is null ? -1 : FileCalls.Open(path, FileCalls.O_PATH | FileCalls.O_CLOEXEC);
        if (made >= 0)
        {
            new OwnedFd(made).Dispose();
            return 0;
        }
        using OwnedFd image = OpenFile(from, from, readOnly: true);
        FileStatus status = StatusOf(from, image);
        if (!status.IsRegular)
            throw new DiskImageException($"disk image '{from}' is no regular file, of which another could be made: name one");
        Lock(from, image, exclusive: false, lockWait);
        return TemporaryCopy.Keep(path, image, status);
    }

    /// <summary>Refuses a file that another process has locked; what else is wrong with it, opening it says.</summary>
    /// <param name="path">The image.</param>
    /// <param name="readOnly">Whether it is shared with readers.</param>
    /// <exception cref="DiskImageException">It is in use.</exception>
    internal static void CheckNotInUse(string path, bool readOnly)
    {
        if (MemoryCalls.StatPath(path, out FileStatus status) != Errno.None || !status.IsRegular) return;
        int fd = FileCalls.Open(path, FileCalls.O_RDONLY | FileCalls.O_CLOEXEC | FileCalls.O_NONBLOCK);
        if (fd < 0) return;
        using OwnedFd file = new(fd);
        Lock(path, file, exclusive: !readOnly, ImageLock.UnknownHolderWaitMax);
    }

    /// <param name="path">The image, for messages.</param>
    /// <param name="at">What is opened.</param>
    /// <param name="use">How.</param>
    private static RawImage OpenAt(string path, string at, ImageUse use)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        FileCalls.Bind();
        OwnedFd? cached = null;
        // Without the flag first: what is wrong with the file itself is reported in the same words.
        OwnedFd file = OpenFile(path, at, use.ReadOnly);
        try
        {
            FileStatus status = StatusOf(path, file);
            if (!use.ReadOnly && status.IsBlockDevice)
            {
                file = Claim(path, file);
                status = StatusOf(path, file);
            }
            if (use.Direct)
            {
                (cached, file) = (file, OpenFile(path, at, use.ReadOnly, FileCalls.O_DIRECT));
                status = StatusOf(path, file);
            }
            ImageFile image = new(file, cached, use.Direct ? Probe(path, file, status) : null, use.DontCache && !use.Direct);
            return Check(path, image, status, use);
        }
        catch
        {
            file.Dispose();
            cached?.Dispose();
            throw;
        }
    }

    private static OwnedFd OpenFile(string path, string at, bool readOnly, int more = 0)
    {
        // Without O_NONBLOCK, opening a pipe would wait for its other end; on files and disks it means nothing.
        int fd = FileCalls.Open(at,
            (readOnly ? FileCalls.O_RDONLY : FileCalls.O_RDWR) | FileCalls.O_CLOEXEC | FileCalls.O_NONBLOCK | more);
        if (fd >= 0) return new OwnedFd(fd);
        Errno error = CallResult.LastError;
        throw more == FileCalls.O_DIRECT && error == Errno.Invalid ? NoDirect(path) : Refused(path, readOnly, error);
    }

    /// <summary>
    /// Opens a block device for us alone (open(2), O_EXCL): the kernel refuses what is mounted, swapped to, or part of a RAID, a volume
    /// group or a mapping. One that a killed process had is waited for as <see cref="ImageLock"/> does.
    /// </summary>
    private static OwnedFd Claim(string path, OwnedFd open)
    {
        open.Dispose();
        long start = Stopwatch.GetTimestamp();
        while (true)
        {
            int fd = FileCalls.Open(path, FileCalls.O_RDWR | FileCalls.O_CLOEXEC | FileCalls.O_NONBLOCK | FileCalls.O_EXCL);
            if (fd >= 0) return new OwnedFd(fd);
            Errno error = CallResult.LastError;
            if (error != Errno.Busy) throw Refused(path, readOnly: false, error);
            if (Stopwatch.GetElapsedTime(start) > ImageLock.KnownHolderWaitMax)
                throw new DiskImageException(
                    $"disk image '{path}' is in use on this host: unmount it (findmnt, swapon and lsblk show what it is used for), "
                    + "stop the program that has it, or attach it read-only");
            Thread.Sleep(BusyRetryMs);
        }
    }

    private static FileStatus StatusOf(string path, OwnedFd file)
    {
        Errno error = MemoryCalls.Stat(file.Number, out FileStatus status);
        return error == Errno.None ? status
            : throw new DiskImageException($"disk image '{path}' cannot be examined: {KernelException.Describe(error)}");
    }

    private static DirectAlignment Probe(string path, OwnedFd file, in FileStatus status)
    {
        // What is no file at all is refused in words of its own.
        if (!status.IsRegular && !status.IsBlockDevice) return new DirectAlignment(1, 1);
        return DirectAlignment.Probe(file.Number) ?? throw NoDirect(path);
    }

    /// <summary>Whether a read that leaves nothing in the page cache works: kernels from 6.14 on have it, for some file systems.</summary>
    private static bool CanDropBehind(OwnedFd file)
    {
        Span<byte> sector = stackalloc byte[BlockProtocol.SectorSize];
        IoVector whole = IoVector.Over(sector);
        return FileCalls.Read(file.Number, new ReadOnlySpan<IoVector>(in whole), 0, FileCalls.RWF_DONTCACHE, out _) >= 0;
    }

    private static DiskImageException NoDirect(string path) =>
        new($"disk image '{path}' cannot be opened past the page cache: its file system has no O_DIRECT: leave out 'direct', "
            + "or move the image");

    private static RawImage Check(string path, ImageFile image, in FileStatus status, ImageUse use)
    {
        OwnedFd file = image.File;
        if (status.IsDirectory) throw new DiskImageException($"disk image '{path}' is a directory: name a file");
        if (!status.IsRegular && !status.IsBlockDevice)
            throw new DiskImageException($"disk image '{path}' is neither a regular file nor a block device: name one of these");

        DiskGeometry geometry = GeometryOf(path, file, status, use.ReadOnly);
        ulong size = SizeOf(file, status);
        if (size == 0) throw new DiskImageException($"disk image '{path}' is empty: give it a size, as with truncate -s 1G '{path}'");
        if (size % BlockProtocol.SectorSize != 0)
            throw new DiskImageException(
                $"disk image '{path}' is {size} bytes: not a multiple of the {BlockProtocol.SectorSize}-byte sector");

        if (image.Alignment is { } alignment && size % alignment.Block != 0)
            throw new DiskImageException(
                $"disk image '{path}' is {size} bytes: not a multiple of the {alignment.Block}-byte block that O_DIRECT asks for here");

        // Left on, a ring would give up reads and writes of files that know no attempt without waiting.
        _ = FileCalls.MakeBlocking(file.Number, image.Cached is null ? 0 : FileCalls.O_DIRECT);
        if (image.Cached is { } cached) _ = FileCalls.MakeBlocking(cached.Number, 0);
        Lock(path, file, exclusive: !use.ReadOnly, use.LockWait);
        FileIdentity identity = FileIdentity.Of(status);
        if (!use.ReadOnly && LoopUsers.Find(identity) is { } loop)
            throw new DiskImageException(
                $"disk image '{path}' is in use by {loop} of this host: detach that with losetup -d {loop}, name {loop} as the disk, "
                + "or attach the image read-only");
        // A file system without locks (some network ones) can't say; the operator chose it.
        return new RawImage(path, image, use.ReadOnly, use.Engine, size, geometry, identity);
    }

    private static void Lock(string path, OwnedFd file, bool exclusive, TimeSpan lockWait)
    {
        Errno error = ImageLock.Acquire(file, exclusive, lockWait, out LockHolder? holder);
        if (error is Errno.Again or Errno.AccessDenied) throw new DiskImageException(InUse(path, holder));
    }

    private static DiskGeometry GeometryOf(string path, OwnedFd file, in FileStatus status, bool readOnly)
    {
        uint preferred = PhysicalBlock(status.BlockSize);
        // A file system takes any range; what it gives back are its own blocks.
        if (!status.IsBlockDevice) return new DiskGeometry(BlockProtocol.SectorSize, preferred, preferred, ZeroBlock: 1);
        HostDiskAnswers answers = HostDisk.Ask(file.Number, status.DeviceNumber);
        if (HostDisk.WhyNot(answers, readOnly) is { } refusal) throw new DiskImageException($"disk image '{path}' {refusal}");
        DiskGeometry geometry = HostDisk.GeometryOf(answers);
        return geometry with { PhysicalBlock = Math.Max(geometry.PhysicalBlock, preferred) };
    }

    private static ulong SizeOf(OwnedFd file, in FileStatus status) =>
        status.IsRegular ? (ulong)status.Size : (ulong)Math.Max(0, FileCalls.Seek(file.Number, 0, FileCalls.SEEK_END));

    private static string InUse(string path, LockHolder? holder) => holder switch
    {
        null => $"disk image '{path}' is locked by a process that does not show here (gone with requests still in the kernel, "
            + "of another user, in another container, or outside of this process's sandbox): "
            + "try again when that is over, or attach both read-only",
        { ProcessId: int id } when id == Environment.ProcessId =>
            $"disk image '{path}' is in use by another disk of this process: close that one, or attach both read-only",
        _ => $"disk image '{path}' is in use by process {holder.ProcessId} ({holder.Name}): close that one, or attach both read-only",
    };

    /// <summary>What the file system says it likes best (stat(2), st_blksize), within what the configuration space can say.</summary>
    private static uint PhysicalBlock(long preferred) =>
        BitOperations.RoundUpToPowerOf2((uint)Math.Clamp(preferred, BlockProtocol.SectorSize, PhysicalBlockBytesMax));

    private static DiskImageException Refused(string path, bool readOnly, Errno error) => new(error switch
    {
        Errno.NoEntry => $"disk image '{path}': no such file: correct the path, or make one with truncate -s 1G '{path}'",
        Errno.IsDirectory => $"disk image '{path}' is a directory: name a file",
        Errno.AccessDenied or Errno.NotPermitted or Errno.ReadOnlyFileSystem when !readOnly =>
            $"disk image '{path}' cannot be opened for writing: {KernelException.Describe(error)}: change its permissions, "
            + "or attach it read-only",
        _ => $"disk image '{path}' cannot be opened: {KernelException.Describe(error)}",
    })
    { HResult = (int)error };
}
