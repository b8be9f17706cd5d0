using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// A disk that is an image of a Ceph cluster, by librbd, which is loaded when the first one is opened. librbd signals what it has done
/// by an eventfd that the reactor watches; no thread of it enters our code with a completion. While the cluster is away requests wait.
/// Thread-safe.
/// </summary>
internal sealed class RbdDisk : IBlockBackend
{
    private static readonly TimeSpan AskAgainAfter = TimeSpan.FromSeconds(1);

    private readonly RbdAddress _address;
    private readonly RbdImage _image;
    private readonly Lock _lock = new();

    /// <summary>Held while the size is asked for and taken: the answer that comes last is the one that was given last.</summary>
    private readonly Lock _sizeLock = new();
    private RbdLink? _link;
    private int _users;
    private volatile bool _isDisposed;
    private ulong _capacity;

    private RbdDisk(RbdAddress address, RbdImage image, bool readOnly, ulong capacity)
    {
        _address = address;
        _image = image;
        IsReadOnly = readOnly;
        _capacity = capacity;
    }

    /// <summary>Opens an image, and locks it if it is to be written.</summary>
    /// <param name="uri"><c>rbd:POOL[/NAMESPACE]/IMAGE[@SNAPSHOT][?conf=PATH&amp;id=USER]</c>.</param>
    /// <param name="readOnly">Whether it takes no writes. A snapshot never does.</param>
    /// <param name="patience">
    /// How long a request waits for the cluster, a second at least; <see cref="Timeout.InfiniteTimeSpan"/>: until it is back. A cluster
    /// takes half a minute to go on without a server that died.
    /// </param>
    /// <exception cref="DeviceSpecException">The URI makes no sense.</exception>
    /// <exception cref="DiskImageException">The image can't be opened; the message says why.</exception>
    public static RbdDisk Open(string uri, bool readOnly, TimeSpan patience)
    {
        return DiskAddress.Parse(uri) is RbdAddress address
            ? Open(address, readOnly, patience)
            : throw new DeviceSpecException($"disk '{uri}' is no image of a Ceph cluster: write rbd:POOL/IMAGE");
    }

    internal static RbdDisk Open(RbdAddress address, bool readOnly, TimeSpan patience)
    {
        if (address.Snapshot is not null && !readOnly)
            throw new DiskImageException($"disk '{address.Text}': a snapshot cannot be written: attach it read-only ('ro'), or clone "
                + "it (rbd clone)");
        RbdImage image = RbdImage.Open(address, readOnly, patience);
        if (image.TryGetSize(out ulong bytes) && bytes >= BlockProtocol.SectorSize)
            return new RbdDisk(address, image, readOnly, bytes / BlockProtocol.SectorSize * BlockProtocol.SectorSize);
        image.Close();
        throw new DiskImageException($"disk '{address.Text}': the image has no sector: give it a size, with rbd resize --size 10G");
    }

    public event Action? CapacityChanged;

    public event Action<string>? Noticed;

    public string Description => $"RBD image '{_address.Text}'";

    public ulong CapacityBytes => Volatile.Read(ref _capacity);

    public bool IsReadOnly { get; }

    public uint PhysicalBlockBytes => 4096;

    /// <inheritdoc/>
    /// <remarks>librbd's own granularity (rbd_discard_granularity_bytes), unless the cluster's configuration has another.</remarks>
    public uint DiscardBlockBytes => 64 * 1024;

    /// <inheritdoc/>
    /// <remarks>An image has one lock and one descriptor for its completions.</remarks>
    public bool QueuesAreIndependent => false;

    public IBlockEngine CreateEngine(IReactor reactor, Action onCompleted)
    {
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_isDisposed, this);
            _link ??= new RbdLink(this, _image, reactor);
            _users++;
            return new RbdBlockEngine(this, _link, onCompleted);
        }
    }

    public void Dispose()
    {
        lock (_lock)
        {
            if (_isDisposed) return;
            _isDisposed = true;
        }
        _image.Close();
    }

    /// <summary>
    /// The image has changed, and says so once: asks for its size until the cluster answers. librbd may wait for the cluster, so that
    /// a thread of the pool does it.
    /// </summary>
    internal void Follow() => _ = Task.Run(async () =>
    {
        while (!TryRefresh() && !_isDisposed) await Task.Delay(AskAgainAfter).ConfigureAwait(false);
    });

    /// <returns>False if the cluster does not say.</returns>
    private bool TryRefresh()
    {
        // No reactor waits for this lock, as it would for the other.
        lock (_sizeLock)
        {
            if (!_image.TryGetSize(out ulong bytes)) return false;
            bytes = bytes / BlockProtocol.SectorSize * BlockProtocol.SectorSize;
            if (Interlocked.Exchange(ref _capacity, bytes) == bytes) return true;
        }
        CapacityChanged?.Invoke();
        return true;
    }

    /// <summary>The cluster has shut this client out.</summary>
    internal void NoticeShutOut() => Noticed?.Invoke($"the cluster of {Description} has put this client on its blocklist (ceph osd "
        + "blocklist ls), and every request fails: restart the disk when it may be used here again");

    /// <summary>An engine is gone; with the last one the link goes, on its reactor's thread.</summary>
    internal void Release()
    {
        lock (_lock)
        {
            if (--_users > 0) return;
            _link?.Close();
            _link = null;
        }
    }
}
