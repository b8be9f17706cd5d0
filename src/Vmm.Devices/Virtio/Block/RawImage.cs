using Vmm.Devices.Native;
using Vmm.Events;
using Vmm.Events.Rings;

namespace Vmm.Devices;

/// <summary>
/// A file, or a block device of the host, whose bytes are the disk's. Locked while it is open, against every other writer that asks: a
/// writer does not share it, readers share it with each other. Thread-safe.
/// </summary>
public sealed partial class RawImage : IBlockBackend
{
    /// <summary>Between two looks at the size of an image that is written, or whose changes the kernel does not report.</summary>
    internal static readonly TimeSpan BetweenLooks = TimeSpan.FromMilliseconds(500);

    private readonly OwnedFd _file;
    // The same file through the page cache, for what O_DIRECT does not take.
    private readonly OwnedFd? _cachedFile;
    private readonly BlockEngineKind _engine;
    private readonly DiskGeometry _geometry;
    private readonly Lock _lock = new();
    /// <summary>Held while the descriptors are asked, which takes as long as the disk hangs, and while they are closed.</summary>
    private readonly Lock _looking = new();
    private ulong _capacity;
    private Action? _onCapacityChanged;
    /// <summary>One of these, while there is a caller for a changed size.</summary>
    private SizeWatch? _watch;
    private int _watchNumber;
    private Timer? _poll;
    private bool _disposed;

    private RawImage(string path, ImageFile file, bool readOnly, BlockEngineKind engine, ulong capacity,
        DiskGeometry geometry, FileIdentity identity)
    {
        _engine = engine;
        Path = path;
        (_file, _cachedFile, Alignment, bool dropsBehind) = file;
        DropsBehind = dropsBehind && CanDropBehind(_file);
        IsReadOnly = readOnly;
        _capacity = capacity;
        _geometry = geometry;
        Identity = identity;
    }

    /// <inheritdoc/>
    /// <remarks>
    /// An image that has watchers is looked at when it was written, at most twice a second; where the kernel does not report that, as of
    /// block devices, always twice a second.
    /// </remarks>
    public event Action? CapacityChanged
    {
        add
        {
            lock (_lock)
            {
                _onCapacityChanged += value;
                if (_disposed || _watch is not null || _poll is not null) return;
                _watch = SizeWatch.For(_file);
                Ask();
            }
        }
        remove
        {
            lock (_lock)
            {
                _onCapacityChanged -= value;
                if (_onCapacityChanged is null) StopWatching();
            }
        }
    }

    /// <summary>Where it was opened.</summary>
    public string Path { get; }

    /// <inheritdoc/>
    public string Description => $"disk image '{Path}'";

    /// <inheritdoc/>
    public ulong CapacityBytes => Volatile.Read(ref _capacity);

    /// <inheritdoc/>
    public bool IsReadOnly { get; }

    /// <inheritdoc/>
    public uint PhysicalBlockBytes => _geometry.PhysicalBlock;

    /// <inheritdoc/>
    public uint DiscardBlockBytes => _geometry.DiscardBlock;

    /// <inheritdoc/>
    public FileIdentity? Identity { get; }

    /// <inheritdoc/>
    public uint LogicalBlockBytes => Math.Max(Alignment?.Block ?? 0, _geometry.LogicalBlock);

    /// <summary>What was copied to open it, for temporary use; 0 for nothing.</summary>
    internal long CopiedBytes { get; private set; }

    internal int Number => _file.Number;

    /// <summary>The descriptor for what O_DIRECT does not take.</summary>
    internal int CachedNumber => (_cachedFile ?? _file).Number;

    /// <summary>What O_DIRECT asks for; null if the page cache is used.</summary>
    internal DirectAlignment? Alignment { get; }

    /// <summary>Whether the page cache keeps nothing of a request that was not there before.</summary>
    internal bool DropsBehind { get; }

    /// <summary>Bytes that what the host zeroes or gives back by itself is a multiple of.</summary>
    internal uint ZeroBlockBytes => _geometry.ZeroBlock;

    /// <summary>
    /// Looks at once whether the image has another size now, as after <c>truncate -s</c> or <c>losetup -c</c>. Any thread.
    /// </summary>
    public void Refresh()
    {
        Action? changed = null;
        lock (_looking)
        {
            if (Volatile.Read(ref _disposed) || MemoryCalls.Stat(_file.Number, out FileStatus status) != Errno.None) return;
            ulong size = SizeOf(_file, status) / LogicalBlockBytes * LogicalBlockBytes;
            lock (_lock)
            {
                if (_disposed || size == _capacity) return;
                Volatile.Write(ref _capacity, size);
                changed = _onCapacityChanged;
            }
        }
        changed?.Invoke();
    }

    /// <inheritdoc/>
    public void Grow(ulong capacityBytes)
    {
        lock (_looking)
        {
            ObjectDisposedException.ThrowIf(Volatile.Read(ref _disposed), this);
            Errno errno = MemoryCalls.Stat(_file.Number, out FileStatus status);
            if (errno == Errno.None && status.IsBlockDevice)
                throw new NotSupportedException($"{Description} is a block device: make the device larger, and the disk follows");
            // Between two makers of a larger disk the larger one counts.
            if (errno == Errno.None && SizeOf(_file, status) < capacityBytes) errno = FileCalls.SetLength(_file.Number, capacityBytes);
            if (errno != Errno.None) throw new KernelException($"cannot make {Description} {capacityBytes} bytes long", errno);
        }
        Refresh();
    }

    /// <inheritdoc/>
    public IBlockEngine CreateEngine(IReactor reactor, Action onCompleted) => _engine switch
    {
        BlockEngineKind.Synchronous => new SynchronousBlockEngine(this, reactor, onCompleted),
        BlockEngineKind.Threads => new RingBlockEngine(this, _file, _cachedFile, IoRing.Of(reactor, RingEngine.Threads), reactor,
            onCompleted),
        _ => new RingBlockEngine(this, _file, _cachedFile, RingOf(reactor), reactor, onCompleted),
    };

    /// <summary>
    /// As <see cref="CreateEngine(IReactor, Action)"/>, with guest memory pinned for the ring of the kernel, if it can be.
    /// </summary>
    /// <param name="context">The queue.</param>
    /// <param name="refusal">Why it is not pinned; null if it is.</param>
    internal RingBlockEngine CreatePinnedEngine(QueueContext context, out string? refusal)
    {
        IoRing ring = RingOf(context.Reactor);
        PinnedMemory? pinned = PinnedMemory.Of(ring, context.Queue.Memory, out refusal);
        try
        {
            return new RingBlockEngine(this, _file, _cachedFile, ring, context.Reactor, context.Publish, pinned);
        }
        catch
        {
            pinned?.Dispose();
            throw;
        }
    }

    /// <summary>Whether a device's requests go by a ring of the kernel.</summary>
    internal static bool UsesRing(VirtioDevice device) =>
        device is BlockDevice { Backend: RawImage { _engine: not (BlockEngineKind.Synchronous or BlockEngineKind.Threads) } };

    /// <summary>The ring of the kernel that all images of a reactor share.</summary>
    internal static IoRing RingOf(IReactor reactor) => IoRing.Of(reactor, onlyTransfers: true);

    /// <summary>Makes what was written durable, then closes and unlocks.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            if (_disposed) return;
            _disposed = true;
            StopWatching();
        }
        // The answers to the guest's own flushes were true; this one only spares it a loss if the host goes down next.
        if (!IsReadOnly) _ = FileCalls.Flush(_file.Number);
        lock (_looking)
        {
            _file.Dispose();
            _cachedFile?.Dispose();
        }
    }

    /// <summary>Size watch: asks for the next change, and looks for what came since the one before.</summary>
    internal void WatchAgain()
    {
        lock (_lock)
        {
            if (_watch is null) return;
            Ask();
        }
        Refresh();
    }

    /// <summary>Has the next change reported, or looks for it again and again.</summary>
    private void Ask()
    {
        if (_watch is not null && (_watchNumber = _watch.Ask(this, _file)) >= 0) return;
        _watch = null;
        _poll = new Timer(_ => LookAndPollAgain(), null, BetweenLooks, Timeout.InfiniteTimeSpan);
    }

    /// <summary>The next look begins after this one's end: looks at a disk that hangs do not pile up.</summary>
    private void LookAndPollAgain()
    {
        Refresh();
        lock (_lock) _poll?.Change(BetweenLooks, Timeout.InfiniteTimeSpan);
    }

    private void StopWatching()
    {
        _watch?.Remove(this, _watchNumber);
        _watch = null;
        _poll?.Dispose();
        _poll = null;
    }
}

/// <summary>An image's descriptors.</summary>
/// <param name="File">What is locked, and what its bytes go through.</param>
/// <param name="Cached">Through the page cache, if <paramref name="File"/> goes past it.</param>
/// <param name="Alignment">What <paramref name="File"/> asks for then.</param>
/// <param name="DropsBehind">Whether the page cache is to keep nothing of a request that was not there before.</param>
internal sealed record ImageFile(OwnedFd File, OwnedFd? Cached, DirectAlignment? Alignment, bool DropsBehind);

/// <summary>Names a file for as long as it exists, whatever its paths: device and inode number (stat(2)).</summary>
/// <param name="Device">The file system's number; of a block device all ones.</param>
/// <param name="Inode">The file's number in it; of a block device the device's own.</param>
public readonly record struct FileIdentity(ulong Device, ulong Inode)
{
    internal static FileIdentity Of(in FileStatus status) =>
        status.IsBlockDevice ? new FileIdentity(ulong.MaxValue, status.DeviceNumber) : new FileIdentity(status.Device, status.Inode);

    /// <summary>The file at a path; null if there is none that we may look at.</summary>
    internal static FileIdentity? Of(string path)
    {
        int fd = FileCalls.Open(path, FileCalls.O_PATH | FileCalls.O_CLOEXEC);
        if (fd < 0) return null;
        using OwnedFd file = new(fd);
        return MemoryCalls.Stat(fd, out FileStatus status) == Errno.None ? Of(status) : null;
    }
}
