using System.Numerics;
using Vmm.Devices.Native;
using Vmm.Events;
using Vmm.Events.Rings;

namespace Vmm.Devices;

/// <summary>
/// A file, or a block device of the host, whose bytes are the disk's. Locked while it is open, against every other writer that asks: a writer
/// shares it with nobody, readers share it with each other. Thread-safe.
/// </summary>
public sealed class RawImage : IBlockBackend
{
    private const int PhysicalBlockBytesMax = 64 * 1024;

    private readonly OwnedFd _file;
    // The same file through the page cache, for what O_DIRECT does not take.
    private readonly OwnedFd? _cachedFile;
    private readonly BlockEngineKind _engine;
    private int _disposed;

    private RawImage(string path, ImageFile file, bool readOnly, BlockEngineKind engine, ulong capacity, uint physicalBlock, FileIdentity identity)
    {
        _engine = engine;
        Path = path;
        (_file, _cachedFile, Alignment) = file;
        IsReadOnly = readOnly;
        CapacityBytes = capacity;
        PhysicalBlockBytes = physicalBlock;
        Identity = identity;
    }

    /// <summary>Where it was opened.</summary>
    public string Path { get; }

    /// <inheritdoc/>
    public string Description => $"disk image '{Path}'";

    /// <inheritdoc/>
    public ulong CapacityBytes { get; }

    /// <inheritdoc/>
    public bool IsReadOnly { get; }

    /// <inheritdoc/>
    public uint PhysicalBlockBytes { get; }

    /// <inheritdoc/>
    public FileIdentity? Identity { get; }

    /// <inheritdoc/>
    public uint LogicalBlockBytes => Alignment?.Block ?? BlockProtocol.SectorSize;

    internal int Number => _file.Number;

    /// <summary>The descriptor for what O_DIRECT does not take.</summary>
    internal int CachedNumber => (_cachedFile ?? _file).Number;

    /// <summary>What O_DIRECT asks for; null if the page cache is used.</summary>
    internal DirectAlignment? Alignment { get; }

    /// <summary>Opens and locks an image.</summary>
    /// <param name="path">The image.</param>
    /// <param name="readOnly">Whether it takes no writes.</param>
    /// <param name="engine">What moves its bytes.</param>
    /// <param name="direct">Whether its bytes go past the host's page cache (O_DIRECT, open(2)).</param>
    /// <exception cref="DiskImageException">It can't be used as a disk: missing, a directory, not permitted, empty, of odd size, or in use.</exception>
    public static RawImage Open(string path, bool readOnly = false, BlockEngineKind engine = BlockEngineKind.Ring, bool direct = false)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        FileCalls.Bind();
        OwnedFd? cached = null;
        // Without the flag first: what is wrong with the file itself is told in the same words.
        OwnedFd file = OpenFile(path, readOnly);
        try
        {
            if (direct) (cached, file) = (file, OpenFile(path, readOnly, FileCalls.O_DIRECT));
            return Check(path, new ImageFile(file, cached, direct ? Probe(path, file) : null), readOnly, engine);
        }
        catch
        {
            file.Dispose();
            cached?.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public IBlockEngine CreateEngine(IReactor reactor, Action onCompleted) => _engine switch
    {
        BlockEngineKind.Synchronous => new SynchronousBlockEngine(this),
        BlockEngineKind.Threads => new RingBlockEngine(this, _file, _cachedFile, IoRing.Of(reactor, RingEngine.Threads), onCompleted),
        _ => new RingBlockEngine(this, _file, _cachedFile, IoRing.Of(reactor), onCompleted),
    };

    /// <summary>Makes what was written durable, then closes and unlocks.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0) return;
        // The guest was told the truth about its own flushes; this one only spares it a loss if the host goes down next.
        if (!IsReadOnly) _ = FileCalls.Flush(_file.Number);
        _file.Dispose();
        _cachedFile?.Dispose();
    }

    private static OwnedFd OpenFile(string path, bool readOnly, int direct = 0)
    {
        // Without O_NONBLOCK, opening a pipe would wait for its other end; on files and disks it means nothing.
        int fd = FileCalls.Open(path, (readOnly ? FileCalls.O_RDONLY : FileCalls.O_RDWR) | FileCalls.O_CLOEXEC | FileCalls.O_NONBLOCK | direct);
        if (fd >= 0) return new OwnedFd(fd);
        Errno error = FileCalls.LastError;
        throw direct != 0 && error == Errno.Invalid ? NoDirect(path) : Refused(path, readOnly, error);
    }

    private static DirectAlignment Probe(string path, OwnedFd file)
    {
        // What is no file at all is refused in words of its own.
        bool isDisk = MemoryCalls.Stat(file.Number, out FileStatus status) == Errno.None && (status.IsRegular || status.IsBlockDevice);
        return !isDisk ? new DirectAlignment(1, 1) : DirectAlignment.Probe(file.Number) ?? throw NoDirect(path);
    }

    private static DiskImageException NoDirect(string path) =>
        new($"disk image '{path}' cannot be opened past the page cache: its file system has no O_DIRECT: leave out 'direct', or move the image");

    private static RawImage Check(string path, ImageFile image, bool readOnly, BlockEngineKind engine)
    {
        OwnedFd file = image.File;
        Errno error = MemoryCalls.Stat(file.Number, out FileStatus status);
        if (error != Errno.None) throw new DiskImageException($"disk image '{path}' cannot be examined: {KernelException.Describe(error)}");
        if (status.IsDirectory) throw new DiskImageException($"disk image '{path}' is a directory: name a file");
        if (!status.IsRegular && !status.IsBlockDevice)
            throw new DiskImageException($"disk image '{path}' is neither a regular file nor a block device: name one of these");

        ulong size = status.IsRegular ? (ulong)status.Size : (ulong)Math.Max(0, FileCalls.Seek(file.Number, 0, FileCalls.SEEK_END));
        if (size == 0) throw new DiskImageException($"disk image '{path}' is empty: give it a size, as with truncate -s 1G '{path}'");
        if (size % BlockProtocol.SectorSize != 0)
            throw new DiskImageException($"disk image '{path}' is {size} bytes: not a multiple of the {BlockProtocol.SectorSize}-byte sector");

        if (image.Alignment is { } alignment && size % alignment.Block != 0)
            throw new DiskImageException($"disk image '{path}' is {size} bytes: not a multiple of the {alignment.Block}-byte block that O_DIRECT asks for here");

        // Left on, a ring would give up reads and writes of files that know no attempt without waiting.
        _ = FileCalls.MakeBlocking(file.Number);
        if (image.Cached is { } cached) _ = FileCalls.MakeBlocking(cached.Number);
        error = ImageLock.Acquire(file, exclusive: !readOnly, out LockHolder? holder);
        if (error is Errno.Again or Errno.AccessDenied) throw new DiskImageException(InUse(path, holder));
        // A file system without locks (some network ones) can't tell us; the operator chose it.
        return new RawImage(path, image, readOnly, engine, size, PhysicalBlock(status.BlockSize), new FileIdentity(status.Device, status.Inode));
    }

    private static string InUse(string path, LockHolder? holder) => holder switch
    {
        null => $"disk image '{path}' is locked by a process that does not show here (gone with requests still in the kernel, of another user, or in another container): "
            + "try again when that is over, or attach both read-only",
        { ProcessId: int id } when id == Environment.ProcessId => $"disk image '{path}' is in use by another disk of this process: close that one, or attach both read-only",
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
            $"disk image '{path}' cannot be opened for writing: {KernelException.Describe(error)}: change its permissions, or attach it read-only",
        _ => $"disk image '{path}' cannot be opened: {KernelException.Describe(error)}",
    });
}

/// <summary>An image's descriptors.</summary>
/// <param name="File">What is locked, and what its bytes go through.</param>
/// <param name="Cached">Through the page cache, if <paramref name="File"/> goes past it.</param>
/// <param name="Alignment">What <paramref name="File"/> asks for then.</param>
internal sealed record ImageFile(OwnedFd File, OwnedFd? Cached, DirectAlignment? Alignment);

/// <summary>Names a file for as long as it exists, whatever its paths: device and inode number (stat(2)).</summary>
/// <param name="Device">The file system's number.</param>
/// <param name="Inode">The file's number in it.</param>
public readonly record struct FileIdentity(ulong Device, ulong Inode);
