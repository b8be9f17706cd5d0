using System.Numerics;
using System.Text;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>A disk as it is described: <c>path=F,ro,cache=none,queues=N</c> …</summary>
public sealed record DiskSpec : DeviceSpec
{
    /// <summary>Most queues: the width of their number in the configuration space allows more, no machine needs them.</summary>
    public const int QueuesMax = 256;

    /// <summary>Longest wait for a server that is not for ever: a day.</summary>
    private const int ReconnectSecondsMax = 24 * 60 * 60;

    /// <summary>Most connections of one reactor: beyond, servers gain nothing.</summary>
    private const int ConnectionsMax = 16;

    private static readonly TimeSpan ReconnectStandard = TimeSpan.FromSeconds(30);

    private const ushort QueueSizeStandard = 256;

    /// <summary>Front-ends ask for 128 (QEMU) to 1024.</summary>
    private const ushort QueueSizeOverVhostUser = 1024;

    /// <summary>
    /// Data buffers of a request that fit, with header and status, into the shortest queue that front-ends ask for by default.
    /// </summary>
    private const int SegmentsMaxOverVhostUser = 126;

    /// <summary>
    /// Queues of a served disk for which none were asked for. QEMU wants one for each of its processors and refuses a disk with fewer; a
    /// queue costs nothing before a front-end starts it.
    /// </summary>
    private const int QueuesOverVhostUser = 64;

    /// <summary>How an operator names one.</summary>
    internal static DeviceKind Kind { get; } = new()
    {
        Name = "disk",
        ServedName = "blk",
        Syntax = "path=PATH|URI[,from=FILE][,ro][,temporary][,cache=writeback|none|writethrough|dontcache][,pin][,queues=N][,size=N]"
            + "[,engine=ring|threads|synchronous][,serial=S][,reconnect=forever|SECONDS][,connections=N]" + LimitSpec.Syntax,
        Description = "A raw image or a block device, which may also be named alone: 'disk.img,ro'; an image that is not there is made as "
            + "a copy of 'from'; or a disk elsewhere: "
            + "nbd://HOST/EXPORT, nbd+unix:///EXPORT?socket=PATH, rbd:POOL/IMAGE, null:SIZE, memory:SIZE. May be given several times.",
        DeviceName = BlockDevice.NameOf,
        Parse = DeviceKind.Each(Parse),
    };

    /// <summary>
    /// The raw image or a block device of the host by its path, or a disk elsewhere by its URI: <c>file:</c>, <c>nbd://</c>,
    /// <c>nbds://</c>, <c>nbd+unix://</c>, <c>nbds+unix://</c>, <c>rbd:POOL/IMAGE</c>, <c>null:SIZE</c>, <c>memory:SIZE</c>.
    /// </summary>
    public string Path { get; set; } = "";

    /// <summary>
    /// The file that the image is made of, if it is not there: a copy with the same time of its last write, which shares blocks where the
    /// file system can. Null: the image has to be there.
    /// </summary>
    public string? From { get; set; }

    /// <summary>Whether the guest may only read.</summary>
    public bool ReadOnly { get; set; }

    /// <summary>
    /// Whether what the guest writes is dropped at the end: it works on a copy of the file (see <see cref="RawImage.OpenTemporary"/>).
    /// </summary>
    public bool Temporary { get; set; }

    /// <summary>What is between the guest and the disk's sectors.</summary>
    public DiskCache Cache { get; set; }

    /// <summary>Another word for <see cref="DiskCache.None"/>.</summary>
    public bool Direct
    {
        get => Cache == DiskCache.None;
        set => Cache = value ? DiskCache.None : Cache == DiskCache.None ? DiskCache.WriteBack : Cache;
    }

    /// <summary>
    /// Whether the kernel keeps the pages of guest memory for this disk, so that it need not look for them for each request. All of the
    /// memory is taken when the disk is first used, none is given back, and it counts against RLIMIT_MEMLOCK, once for each reactor that
    /// serves such a disk. For <see cref="DiskCache.None"/>, and for the memory of a machine of this process.
    /// </summary>
    public bool Pin { get; set; }

    /// <summary>
    /// How long requests wait for a server that went away before they fail; zero: not at all; <see cref="Timeout.InfiniteTimeSpan"/>:
    /// until it is back. Null: 30 seconds for an NBD server, without an end for a Ceph cluster, which takes as long to go on without a
    /// server of its own.
    /// </summary>
    public TimeSpan? Reconnect { get; set; }

    /// <summary>
    /// Connections to the server for each reactor that serves the disk, where the server says that several are safe; null: 1.
    /// </summary>
    public int? Connections { get; set; }

    /// <summary>What moves its bytes; null: what the machine's disks have.</summary>
    public BlockEngineKind? Engine { get; set; }

    /// <summary>How much its driver may do a second; null for no limit.</summary>
    public LimitSpec? Limit { get; set; }

    /// <summary>Request queues, each of which may be served by a reactor of its own; null: as many as the machine's devices have.</summary>
    public int? Queues { get; set; }

    /// <summary>Most entries of each queue, a power of two; null: what is usual where the disk is.</summary>
    public ushort? QueueSize { get; set; }

    /// <summary>
    /// Most data buffers of a request, as the configuration space says. Null: as many as a queue of <see cref="QueueSize"/> entries holds,
    /// which is too many where the front-end makes the queue shorter.
    /// </summary>
    public int? SegmentsMax { get; set; }

    /// <summary>What the driver reads as the serial number: at most 20 bytes of UTF-8. Null: the disk's name.</summary>
    public string? Serial { get; set; }

    /// <summary>The host's file that it works on; null if there is none, or none yet.</summary>
    internal FileIdentity? FileBehind => !Temporary && DiskAddress.Parse(Path).FilePath is { } path ? FileIdentity.Of(path) : null;

    internal int QueuesInForce => Queues ?? 1;

    internal ushort QueueSizeInForce => QueueSize ?? QueueSizeStandard;

    internal int SegmentsInForce => SegmentsMax ?? QueueSizeInForce - BlockProtocol.SegmentsBesideData;

    /// <summary>Reads a text such as <c>disk.img,ro</c> or <c>path=disk.img,queues=4</c>.</summary>
    /// <exception cref="DeviceSpecException">It makes no sense; the message says what does.</exception>
    public static DiskSpec Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        string[] keys = ["path", "from", "cache", "queues", "size", "engine", "serial", "reconnect", "connections", .. LimitSpec.Keys];
        SpecText disk = SpecText.Parse(text, keys, ["ro", "rw", "temporary", "direct", "pin"], first: "path");
        if (disk.Has("ro") && disk.Has("rw")) throw disk.Refused("give either 'ro' or 'rw'");
        if (disk.Has("direct") && disk.Value("cache") is not (null or "none"))
            throw disk.Refused("'direct' is 'cache=none': give one of them");
        return new DiskSpec
        {
            Path = disk.Required("path"),
            From = disk.Value("from"),
            ReadOnly = disk.Has("ro"),
            Temporary = disk.Has("temporary"),
            Cache = disk.Has("direct") ? DiskCache.None : disk.Choice("cache",
                ("writeback", DiskCache.WriteBack), ("none", DiskCache.None),
                ("writethrough", DiskCache.WriteThrough), ("dontcache", DiskCache.DontCache)) ?? default,
            Pin = disk.Has("pin"),
            Engine = disk.Choice("engine",
                ("ring", BlockEngineKind.Ring), ("threads", BlockEngineKind.Threads), ("synchronous", BlockEngineKind.Synchronous)),
            Queues = disk.Number("queues", 1, QueuesMax),
            QueueSize = (ushort?)disk.Number("size", 4, VirtQueue.SizeLimit),
            Serial = disk.Value("serial"),
            Reconnect = disk.Value("reconnect") == "forever" ? Timeout.InfiniteTimeSpan
                : disk.Number("reconnect", 0, ReconnectSecondsMax) is { } seconds ? TimeSpan.FromSeconds(seconds) : null,
            Connections = disk.Number("connections", 1, ConnectionsMax),
            Limit = LimitSpec.Parse(disk),
        };
    }

    /// <inheritdoc/>
    public override IEnumerable<string> Failures(string name)
    {
        if (Path.Length == 0) yield return $"disk '{name}' has no path: name its image";
        else foreach (string failure in AddressFailures(name)) yield return failure;
        if (Pin && !Direct)
            yield return $"disk '{name}' goes through the page cache, where pinned memory gains nothing: add 'cache=none', or leave out "
                + "'pin'";
        if (Pin && Engine is BlockEngineKind.Threads or BlockEngineKind.Synchronous)
            yield return $"disk '{name}' is pinned for a ring of the kernel, which its engine does not use: leave out 'engine' or 'pin'";
        foreach (string failure in DeviceFailures(name)) yield return failure;
    }

    /// <inheritdoc/>
    public override void Prepare(Action<string> announce)
    {
        ArgumentNullException.ThrowIfNull(announce);
        Prepare(announce, ImageLock.UnknownHolderWaitMax);
    }

    private void Prepare(Action<string> announce, TimeSpan lockWait)
    {
        if (From is null || DiskAddress.Parse(Path).FilePath is not { } path) return;
        if (RawImage.MakeOf(path, From, lockWait) is > 0 and var copied)
            announce($"'{path}': copied {copied >> 20} MiB of '{From}', since its file system cannot share blocks");
    }

    /// <summary>
    /// Refuses an image that another process has locked. For a process that goes into a sandbox, where <see cref="Open"/> finds no other
    /// process, and waits for the end of what a killed one left in the kernel.
    /// </summary>
    /// <exception cref="DiskImageException">The image is in use; the message says by which process.</exception>
    public void CheckNotInUse()
    {
        if (DiskAddress.Parse(Path).FilePath is { } path) RawImage.CheckNotInUse(path, ReadOnly || Temporary);
    }

    /// <inheritdoc/>
    public override VirtioDevice Open(string name, DeviceSetting? setting = null)
    {
        setting ??= new DeviceSetting();
        if (Pin && setting.OverVhostUser)
            throw new ArgumentException($"disk '{name}' cannot have its front-end's memory pinned: the front-end may replace pages of it "
                + "at any time (a balloon, free page reporting, migration), and the guest would not see what was read: leave out 'pin'");
        DiskSpec spec = this with
        {
            Queues = Queues ?? (setting.OverVhostUser ? QueuesOverVhostUser : setting.Queues),
            QueueSize = QueueSize ?? (setting.OverVhostUser ? QueueSizeOverVhostUser : QueueSizeStandard),
            SegmentsMax = SegmentsMax ?? (setting.OverVhostUser ? SegmentsMaxOverVhostUser : null),
        };
        if (spec.Failures(name).FirstOrDefault() is { } failure) throw new ArgumentException(failure);
        Prepare(_ => { }, LockWait(setting));
        IBlockBackend backend = OpenBackend(setting);
        try
        {
            return new BlockDevice(name, backend, spec)
            {
                Limit = Limit?.Open(),
                OpenMedium = path => (this with { Path = path }) is var other && other.AddressFailures(name).FirstOrDefault() is { } refusal
                    ? throw new ArgumentException(refusal) : other.OpenBackend(setting with { IsAddedLater = true }),
            };
        }
        catch
        {
            backend.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public override IDisposable? Connect(VirtioDevice device, RemoteEndpoint reactor, Action<string> announce)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(announce);
        if (device is BlockDevice { Backend: RawImage { CopiedBytes: > 0 } image })
            announce($"{device.Name}: copied {image.CopiedBytes >> 20} MiB of '{image.Path}', since its file system cannot share blocks");
        return null;
    }

    /// <inheritdoc/>
    public override IEnumerable<HostAccess> HostAccesses()
    {
        IEnumerable<HostAccess> accesses = DiskAddress.Parse(Path).HostAccesses(ReadOnly || Temporary);
        // Not the image's folder, where other images are.
        return Temporary ? accesses.Append(new HostAccess(HostAccessKind.Write, System.IO.Path.GetTempPath())) : accesses;
    }

    private IBlockBackend OpenBackend(DeviceSetting setting) => DiskAddress.Parse(Path) switch
    {
        NullAddress disk => new NullDisk(disk.Bytes) { IsReadOnly = ReadOnly },
        MemoryAddress disk => new MemoryDisk(disk.Bytes) { IsReadOnly = ReadOnly },
        NbdAddress disk => NbdDisk.Open(disk, ReadOnly, Reconnect ?? ReconnectStandard, Connections ?? 1),
        RbdAddress disk => RbdDisk.Open(disk, ReadOnly, Reconnect ?? Timeout.InfiniteTimeSpan),
        FileAddress disk when Temporary => RawImage.OpenTemporaryFor(disk.Path, UseOf(setting)),
        FileAddress disk => RawImage.OpenFor(disk.Path, UseOf(setting)),
        _ => throw new DeviceSpecException($"disk '{Path}' is of a kind that cannot be opened here"),
    };

    private ImageUse UseOf(DeviceSetting setting) =>
        new(ReadOnly, Engine ?? setting.Engine, Direct, Cache == DiskCache.DontCache, LockWait(setting));

    private static TimeSpan LockWait(DeviceSetting setting) =>
        setting.IsAddedLater ? ImageLock.KnownHolderWaitMax : ImageLock.UnknownHolderWaitMax;

    /// <summary>What the disk's name makes no sense with.</summary>
    private IEnumerable<string> AddressFailures(string name)
    {
        DiskAddress? address = null;
        string? refusal = null;
        try
        {
            address = DiskAddress.Parse(Path);
        }
        catch (DeviceSpecException refused)
        {
            refusal = refused.Message;
        }
        if (refusal is not null) yield return refusal;
        if (address is null) yield break;
        if (address is not FileAddress)
        {
            if (Cache is DiskCache.None or DiskCache.DontCache)
                yield return $"disk '{name}' is no file: the host's page cache does not hold it, leave out "
                    + $"'cache={(Direct ? "none" : "dontcache")}'";
            if (Engine is not null) yield return $"disk '{name}' is no file: leave out its engine";
            if (From is not null) yield return $"disk '{name}' is no file, which could be made of another: leave out 'from'";
            if (Temporary) yield return $"disk '{name}' is no file, of which a copy could be made: leave out 'temporary'";
        }
        if (Temporary && ReadOnly)
            yield return $"disk '{name}' is read-only, so that nothing is written which could be dropped: leave out 'temporary' or 'ro'";
        if (Reconnect is { } wait && wait != Timeout.InfiniteTimeSpan && (wait < TimeSpan.Zero || wait.TotalSeconds > ReconnectSecondsMax))
            yield return $"disk '{name}' waits {wait} for its server: give 0 to {ReconnectSecondsMax} seconds, or for ever";
        if (Connections is < 1 or > ConnectionsMax)
            yield return $"disk '{name}' has {Connections} connections: give it 1 to {ConnectionsMax}";
        if (Connections is not null && address is not NbdAddress) yield return $"disk '{name}' has no NBD server: leave out 'connections'";
        if (Reconnect is not null && !address.IsRemote) yield return $"disk '{name}' has no server: leave out 'reconnect'";
        if (address is RbdAddress { Snapshot: not null } && !ReadOnly)
            yield return $"disk '{name}' is a snapshot, which cannot be written: attach it read-only ('ro'), or clone it (rbd clone)";
    }

    /// <summary>What is out of its range, whatever the disk works on.</summary>
    internal IEnumerable<string> DeviceFailures(string name)
    {
        foreach (string failure in Limit?.Failures(name) ?? []) yield return failure;
        if (QueuesInForce is < 1 or > QueuesMax) yield return $"disk '{name}' has {Queues} queues: give it 1 to {QueuesMax}";
        if (QueueSizeInForce is < 4 or > VirtQueue.SizeLimit || !BitOperations.IsPow2(QueueSizeInForce))
            yield return $"disk '{name}' has a queue size of {QueueSize}: give it a power of two from 4 to {VirtQueue.SizeLimit}";
        else if (SegmentsMax is { } segments && (segments < 1 || segments > QueueSizeInForce - BlockProtocol.SegmentsBesideData))
            yield return $"disk '{name}' has at most {segments} segments a request: give it 1 to "
                + $"{QueueSizeInForce - BlockProtocol.SegmentsBesideData}";
        if (Encoding.UTF8.GetByteCount(Serial ?? "") > BlockProtocol.IdLength)
            yield return $"disk '{name}' has the serial number '{Serial}': it is longer than {BlockProtocol.IdLength} bytes";
    }
}
