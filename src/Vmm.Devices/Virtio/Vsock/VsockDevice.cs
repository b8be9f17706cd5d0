using System.Buffers.Binary;
using System.Text;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// Sockets between guest and host (virtio 1.2 § 5.10), by the convention of hybrid vsock: a guest that connects to port P of the host
/// reaches the Unix socket <c>PATH_P</c>; who connects to the Unix socket <c>PATH</c> and says <c>CONNECT P\n</c> reaches port P of the
/// guest, and gets <c>OK N\n</c> when the guest accepted, where N is the port the guest sees.
/// </summary>
public sealed class VsockDevice : VirtioDevice
{
    /// <summary>Least context id of a guest; smaller ones have meanings of their own (vsock(7)).</summary>
    public const uint CidMin = 3;

    /// <summary>Greatest context id of a guest.</summary>
    public const uint CidMax = uint.MaxValue - 1;

    /// <summary>Longest <c>PATH</c>, in bytes: a port of the host appended to it fits into a socket address.</summary>
    public const int PathBytesMax = 107 - 11;

    /// <summary>Most bytes in each direction in one turn; then the other devices have theirs.</summary>
    internal const int BytesPerTurnMax = 1 << 20;

    private const ushort QueueSize = 256;
    private const ushort EventQueueSize = 16;

    private readonly VsockListener _listener;
    private readonly VsockEventQueue _events;
    private readonly DriverBell _serveSoon;
    private readonly DriverBell _reset;
    private VsockConnections? _connections;
    private VsockConnectRetry? _retry;

    /// <summary>
    /// Makes the device, and listens on its socket with mode 0600; one that a process that is gone left behind is replaced.
    /// </summary>
    /// <param name="name">For messages and measurements: <c>vsock0</c>.</param>
    /// <param name="spec">Context id, socket and what it may cost. The socket is removed when the device is disposed.</param>
    /// <exception cref="ArgumentException">The context id, the path or a limit is out of its range.</exception>
    /// <exception cref="KernelException">Another process listens on the path, or its directory can't be written.</exception>
    public VsockDevice(string name, VsockSpec spec) : base(VirtioDeviceType.Socket, name, VsockProtocol.ConfigLength)
    {
        ArgumentNullException.ThrowIfNull(spec);
        if (spec.Failures(name).FirstOrDefault() is { } failure) throw new ArgumentException(failure);
        Spec = spec;
        (_serveSoon, _reset) = (new DriverBell(ServeSoon), new DriverBell(ResetAll));
        GuestCid = spec.Cid;
        Path = spec.Uds;
        (ToGuest, FromGuest, _events) = (new VsockReceiveQueue(this), new VsockTransmitQueue(this), new VsockEventQueue(this));
        AddQueue("receive", QueueSize, context =>
        {
            _events.LookForPredecessor(context.Queue);
            return ToGuest.MakeWorker(context);
        });
        AddQueue("transmit", QueueSize, FromGuest.MakeWorker);
        AddQueue("event", EventQueueSize, _events.Serve);
        Span<byte> config = stackalloc byte[VsockProtocol.ConfigLength];
        BinaryPrimitives.WriteUInt64LittleEndian(config, GuestCid);
        Config.Update(0, config);
        Remainders = new VsockRemainders(Spec.ConnectionsMax,
            () => ReportHost(Errno.NoMemory, "dropped what the guest sent to a program that does not read"));
        _listener = new VsockListener(this, Path);
    }

    /// <summary>As <see cref="VsockDevice(string, VsockSpec)"/>, with the context id and the path of the socket named apart.</summary>
    /// <param name="name">For messages and measurements: <c>vsock0</c>.</param>
    /// <param name="cid">The guest's context id, <see cref="CidMin"/> to <see cref="CidMax"/>.</param>
    /// <param name="path">The Unix socket the host connects to, at most <see cref="PathBytesMax"/> bytes.</param>
    /// <param name="limits">What it may cost; null for the defaults.</param>
    public VsockDevice(string name, uint cid, string path, VsockSpec? limits = null)
        : this(name, (limits ?? new VsockSpec()) with { Cid = cid, Uds = path })
    {
    }

    /// <summary>The guest's context id.</summary>
    public uint GuestCid { get; }

    /// <summary>The Unix socket the host connects to.</summary>
    public string Path { get; }

    /// <summary>The connections there are, by ports. On the device's reactor.</summary>
    public IReadOnlyList<VsockPeer> Peers =>
        [.. (_connections?.Live ?? []).Select(VsockPeer.Of).OrderBy(peer => (peer.GuestPort, peer.HostPort))];

    /// <summary>Connections there are, those that are being made included. Any thread.</summary>
    public int Connections => Volatile.Read(ref _connections)?.Count ?? 0;

    /// <inheritdoc/>
    public override ulong Features => VsockProtocol.FeatureStream | VsockProtocol.FeatureSeqPacket;

    internal VsockSpec Spec { get; }

    internal IReactor Reactor => Driver!.Reactor;

    internal ReactorTimers Timers { get; private set; } = null!;

    /// <summary>The ends of streams whose guest has gone. They outlive the driver.</summary>
    internal VsockRemainders Remainders { get; }

    internal VsockReceiveQueue ToGuest { get; }

    internal VsockTransmitQueue FromGuest { get; }

    /// <summary>The connections there are. There is a driver.</summary>
    internal VsockConnections Table => _connections!;

    internal bool DriverTakesMessages => (Driver!.Features & VsockProtocol.FeatureSeqPacket) != 0;

    /// <summary>What is wrong with a context id or a path, in a sentence; null if nothing is.</summary>
    internal static string? Failure(string name, uint cid, string path)
    {
        if (path.Length == 0) return $"vsock '{name}' has no socket: name its 'uds'";
        if (cid is < CidMin or > CidMax) return $"vsock '{name}' has context id {cid}: give it {CidMin} to {CidMax}";
        return Encoding.UTF8.GetByteCount(path) > PathBytesMax
            ? $"vsock '{name}': the path '{path}' is too long, with '_' and a port it has to fit into 107 bytes: "
                + $"give it at most {PathBytesMax}"
            : null;
    }

    /// <summary>
    /// Ends every connection and reports a transport reset to the guest: for a machine that was restored, or whose peers are no more
    /// what they were. Any thread; nothing if the guest has no driver.
    /// </summary>
    public void ResetTransport() => _reset.Ring();

    /// <summary>
    /// Ends a connection for both ends at once: the guest gets a reset, the program of the host reads the end. On the device's reactor.
    /// </summary>
    /// <returns>False if there is none.</returns>
    public bool TryDisconnect(uint guestPort, uint hostPort)
    {
        if (_connections?.Find(guestPort, hostPort) is not { } connection) return false;
        connection.Reset();
        ServeReceiveSoon();
        return true;
    }

    /// <inheritdoc/>
    /// <remarks>
    /// Its connections ended with the process before: the guest gets a transport reset, by which its driver also looks at its context id
    /// again (virtio 1.2 § 5.10.6.7.1). Who listens in the guest listens on.
    /// </remarks>
    protected internal override void Restore(StateReader from) => _events.IsResetPending = Driver is not null;

    /// <inheritdoc/>
    protected override void OnDriver(DriverSession driver)
    {
        ArgumentNullException.ThrowIfNull(driver);
        Timers = ReactorTimers.Of(driver.Reactor);
        Volatile.Write(ref _connections, new VsockConnections(this, Spec.ConnectionsMax));
        _serveSoon.Connect(driver);
        _retry = new VsockConnectRetry(this);
        _events.Start();
        _reset.Connect(driver);
        _listener.Start(driver.Reactor);
    }

    /// <inheritdoc/>
    protected override void OnDriverGone()
    {
        _reset.Disconnect();
        _events.IsResetPending = false;
        _retry?.Stop();
        _listener.Stop();
        foreach (VsockConnection connection in _connections!.Live.ToArray()) connection.GuestLeft();
        Volatile.Write(ref _connections, null);
        ToGuest.Refusals.Clear();
        _serveSoon.Disconnect();
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing) _listener?.Dispose();
        base.Dispose(disposing);
    }

    /// <summary>Has the guest served at the end of the reactor's turn: once for all that happens in it.</summary>
    internal void ServeReceiveSoon() => _serveSoon.Ring();

    /// <summary>A connection's host socket has no room for it yet.</summary>
    internal void AwaitBacklog(VsockConnection connection) => _retry!.Add(connection);

    /// <summary>A host program connected.</summary>
    internal void Welcome(UnixSocket socket)
    {
        if (_connections!.Rent() is { } connection) connection.OpenForHost(socket);
        else socket.Dispose();
    }

    /// <summary>A connection of the host named the port of the guest that it wants.</summary>
    internal int Register(VsockConnection connection, uint guestPort, out uint hostPort)
    {
        hostPort = _connections!.TakeHostPort(guestPort);
        return _connections.Register(connection, guestPort, hostPort);
    }

    /// <summary>Ends a connection without a word to the guest.</summary>
    internal void Close(VsockConnection connection) => _connections!.Return(connection);

    /// <summary>The socket of the host that stands for one of its ports.</summary>
    internal string PathOf(uint port) => $"{Path}_{port}";

    internal void CountFault(GuestFault fault) => CountGuestFault(fault);

    internal void ReportHost(Errno errno, string what) => ReportHostFault(errno, what, $"socket '{Path}'");

    /// <summary>A port without a listener is not a fault.</summary>
    internal void ReportConnect(Errno errno, uint port)
    {
        if (errno is not (Errno.NoEntry or Errno.ConnectionRefused))
            ReportHostFault(errno, "cannot connect the guest", $"socket '{PathOf(port)}'");
    }

    private void ServeSoon()
    {
        if (FromGuest.WantsTurn) ServeQueue(VsockProtocol.TransmitQueue);
        ServeQueue(VsockProtocol.ReceiveQueue);
    }

    private void ResetAll()
    {
        if (_connections is null) return;
        foreach (VsockConnection connection in _connections.Live.ToArray()) connection.Reset();
        _events.SendReset();
    }
}
