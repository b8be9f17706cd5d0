using System.Diagnostics;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// A disk that an NBD server has. While the server is away requests wait, and are sent again when it is back: a write that was carried
/// out already is carried out once more, which changes nothing. Thread-safe.
/// </summary>
internal sealed class NbdDisk : IBlockBackend
{
    /// <summary>Longest wait for each address of the server, at the start and later.</summary>
    private static readonly TimeSpan FirstReach = TimeSpan.FromSeconds(10), LaterReach = TimeSpan.FromSeconds(2);

    /// <summary>Between two sentences about a server that comes and goes.</summary>
    private static readonly TimeSpan QuietFor = TimeSpan.FromSeconds(10);

    /// <summary>Least part of a disk that is a block of it: below, servers are asked for whole blocks.</summary>
    private const uint SectorBytes = BlockProtocol.SectorSize;

    /// <summary>What requests rely on that were made before the server went.</summary>
    private const NbdFlags Promises =
        NbdFlags.SendFlush | NbdFlags.SendFua | NbdFlags.SendTrim | NbdFlags.SendWriteZeroes | NbdFlags.CanMultiConn;

    private readonly NbdAddress _address;
    private readonly Func<TimeSpan, NbdConnection> _connect;
    private readonly Lock _lock = new();
    private readonly List<(NbdLink Link, int Users)> _links = [];
    private readonly bool _readOnly;
    private NbdExport _export;
    private NbdConnection? _spare;
    private bool _isDisposed;
    private long _lostAt;
    private long _saidAt;
    private bool _hasSaid;
    private string? _lastFailure;
    private long _reconnects;

    /// <param name="address">For messages.</param>
    /// <param name="connect">Makes a connection, within the time it is given. On any thread.</param>
    /// <param name="connection">The first one.</param>
    /// <param name="readOnly">Whether it takes no writes.</param>
    /// <param name="patience">How long requests wait for a server that went away.</param>
    /// <param name="connections">Connections for each reactor.</param>
    internal NbdDisk(
        NbdAddress address, Func<TimeSpan, NbdConnection> connect, NbdConnection connection, bool readOnly, TimeSpan patience,
            int connections)
    {
        _address = address;
        _connect = connect;
        _spare = connection;
        _export = connection.Export;
        _readOnly = readOnly;
        Patience = patience;
        ConnectionsPerReactor = connections;
    }

    /// <summary>Connects to a server.</summary>
    /// <param name="uri">As the document on NBD URIs has it: <c>nbd://host/export</c>, <c>nbd+unix:///export?socket=PATH</c>,
    /// <c>nbds://…</c>.</param>
    /// <param name="readOnly">Whether it takes no writes. An export that is read-only needs it.</param>
    /// <param name="patience">
    /// How long requests wait for a server that went away; zero: not at all; <see cref="Timeout.InfiniteTimeSpan"/>: until it is back.
    /// </param>
    /// <param name="connections">Connections for each reactor that serves the disk, where the server says that several are safe.</param>
    /// <exception cref="DeviceSpecException">The URI makes no sense.</exception>
    /// <exception cref="DiskImageException">The server can't be reached, or does not give the export; the message says why.</exception>
    public static NbdDisk Open(string uri, bool readOnly, TimeSpan patience, int connections = 1)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(connections, 1);
        return DiskAddress.Parse(uri) is NbdAddress address
            ? Open(address, readOnly, patience, connections)
            : throw new DeviceSpecException($"disk '{uri}' is not at an NBD server: write nbd://HOST/EXPORT or "
                + "nbd+unix:///EXPORT?socket=PATH");
    }

    internal static NbdDisk Open(NbdAddress address, bool readOnly, TimeSpan patience, int connections)
    {
        Native.VectorCalls.Bind();
        NbdConnection Connect(TimeSpan reach) => NbdHandshake.Connect(address, reach);
        NbdConnection connection = Connect(FirstReach);
        if (!connection.Export.Can(NbdFlags.ReadOnly) || readOnly)
            return new NbdDisk(address, Connect, connection, readOnly, patience, connections);
        connection.Dispose();
        throw NbdHandshake.Refused(address, "the export is read-only: attach it read-only ('ro'), or have the server open it for writing");
    }

    public event Action? CapacityChanged;

    public event Action<string>? Noticed;

    public string Description => $"NBD export '{_address.Text}'";

    public ulong CapacityBytes => Export.Bytes;

    public bool IsReadOnly => _readOnly;

    public uint LogicalBlockBytes => Math.Max(Export.BlockMin, SectorBytes);

    public uint PhysicalBlockBytes => Export.BlockPreferred;

    public uint DiscardBlockBytes => Export.BlockPreferred;

    /// <inheritdoc/>
    /// <remarks>Several connections show the same sectors at the same time only if the server says so.</remarks>
    public bool QueuesAreIndependent => Export.Can(NbdFlags.CanMultiConn) && Export.BlockMin <= SectorBytes;

    /// <summary>Times that the server was reached again. Any thread.</summary>
    public long Reconnects => Interlocked.Read(ref _reconnects);

    long? IBlockBackend.Reconnects => Reconnects;

    /// <summary>Whether each reactor that serves it has a connection. Any thread.</summary>
    public bool IsConnected
    {
        get
        {
            lock (_lock) return _links.TrueForAll(each => each.Link.IsUp);
        }
    }

    internal NbdExport Export => Volatile.Read(ref _export);

    internal int ConnectionsPerReactor { get; }

    /// <summary>How long requests wait for a server that went away.</summary>
    internal TimeSpan Patience { get; }

    public IBlockEngine CreateEngine(IReactor reactor, Action onCompleted)
    {
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_isDisposed, this);
            int index = _links.FindIndex(each => each.Link.Reactor == reactor);
            if (index < 0)
            {
                NbdConnection? spare = _spare;
                _spare = null;
                index = _links.Count;
                _links.Add((new NbdLink(this, reactor, spare), 0));
            }
            (NbdLink link, int users) = _links[index];
            _links[index] = (link, users + 1);
            return link.Add(onCompleted);
        }
    }

    public void Dispose()
    {
        lock (_lock)
        {
            _isDisposed = true;
            if (_spare is { } spare) Hang(spare);
            _spare = null;
        }
    }

    /// <summary>An engine of a link is gone; with the last one the link goes, on its reactor's thread.</summary>
    internal void Release(NbdLink link)
    {
        lock (_lock)
        {
            int index = _links.FindIndex(each => each.Link == link);
            int users = _links[index].Users - 1;
            _links[index] = (link, users);
            if (users > 0) return;
            _links.RemoveAt(index);
            if (link.Close() is not { } connection) return;
            if (_spare is null && !_isDisposed) _spare = connection;
            else Hang(connection);
        }
    }

    /// <summary>Connects once more. On a thread of the pool.</summary>
    /// <returns>The connection; or null, and why there is none.</returns>
    internal (NbdConnection? Connection, string Why) TryConnect()
    {
        try
        {
            NbdConnection connection = _connect(LaterReach);
            if (Refusal(connection.Export) is { } refusal)
            {
                Hang(connection);
                return (null, refusal);
            }
            Accept(connection.Export);
            return (connection, "");
        }
        catch (IOException failure)
        {
            return (null, failure.Message);
        }
    }

    /// <summary>The last connection of a link broke.</summary>
    internal void NoticeLoss(string why)
    {
        lock (_lock)
        {
            _lostAt = Stopwatch.GetTimestamp();
            _lastFailure = null;
            _hasSaid = _saidAt == 0 || Stopwatch.GetElapsedTime(_saidAt) > QuietFor;
            if (_hasSaid) _saidAt = _lostAt;
        }
        string wait = Patience == Timeout.InfiniteTimeSpan ? "requests wait until it is back"
            : Patience == TimeSpan.Zero ? "requests fail until it is back"
            : $"requests wait for it, {Patience.TotalSeconds:0} s at most";
        if (_hasSaid) Noticed?.Invoke($"the server of {Description} {why}: {wait}");
    }

    /// <summary>A try to reach the server again failed.</summary>
    internal void NoticeFailure(string why)
    {
        lock (_lock)
        {
            // The same reason is not said again with each try.
            if (!_hasSaid || _lastFailure == why) return;
            _lastFailure = why;
        }
        Noticed?.Invoke($"{Description} cannot be reached again yet: {why}");
    }

    /// <summary>A link has a connection again.</summary>
    internal void NoticeReturn()
    {
        Interlocked.Increment(ref _reconnects);
        bool says;
        long lostAt;
        lock (_lock) (says, lostAt, _hasSaid) = (_hasSaid, _lostAt, false);
        if (says) Noticed?.Invoke($"the server of {Description} is back after {Stopwatch.GetElapsedTime(lostAt).TotalSeconds:0.0} s");
    }

    /// <summary>Why an export that comes back is not the one that went; null if it may be.</summary>
    private string? Refusal(NbdExport export)
    {
        NbdExport before = Export;
        if (export.Can(NbdFlags.ReadOnly) && !_readOnly) return "the export has become read-only: have the server open it for writing";
        if (export.BlockMin > before.BlockMin || export.PayloadMax < before.PayloadMax)
        {
            return $"the export takes blocks of {export.BlockMin} and requests of {export.PayloadMax} bytes now, and took "
                + $"{before.BlockMin} "
                + $"and {before.PayloadMax}: restart the server as it was, or the disk";
        }
        return (before.Flags & Promises & ~export.Flags) != 0
            ? $"the server promises less than before ({before.Flags & Promises & ~export.Flags}): restart it as it was, or restart the disk"
            : null;
    }

    /// <summary>Takes note of what the server says now; its size may be another.</summary>
    private void Accept(NbdExport export)
    {
        bool isResized;
        lock (_lock)
        {
            NbdExport before = _export;
            isResized = before.Bytes != export.Bytes;
            Volatile.Write(ref _export, before with { Bytes = export.Bytes });
        }
        if (isResized) CapacityChanged?.Invoke();
    }

    private static void Hang(NbdConnection connection)
    {
        NbdChannel.SayGoodbye(connection.Socket, connection.Export);
        connection.Dispose();
    }
}
