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
public sealed partial class VsockDevice : VirtioDevice
{
    /// <summary>Least context id of a guest; smaller ones have meanings of their own (vsock(7)).</summary>
    public const uint CidMin = 3;

    /// <summary>Greatest context id of a guest.</summary>
    public const uint CidMax = uint.MaxValue - 1;

    /// <summary>Longest <c>PATH</c>, in bytes: a port of the host appended to it fits into a socket address.</summary>
    public const int PathBytesMax = 107 - 11;

    private const ushort QueueSize = 256;
    private const ushort EventQueueSize = 16;

    private readonly VsockListener _listener;
    private VsockConnections? _connections;
    private readonly DriverBell _serveSoon;

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
        AddQueue("receive", QueueSize, context => new ReceiveWorker(this, context));
        AddQueue("transmit", QueueSize, context => new TransmitWorker(this, context));
        AddQueue("event", EventQueueSize, ServeEvents);
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

    /// <summary>Connections there are, those that are being made included. Any thread.</summary>
    public int Connections => Volatile.Read(ref _connections)?.Count ?? 0;

    /// <inheritdoc/>
    public override ulong Features => VsockProtocol.FeatureStream | VsockProtocol.FeatureSeqPacket;

    internal VsockSpec Spec { get; }

    internal IReactor Reactor => Driver!.Reactor;

    internal ReactorTimers Timers { get; private set; } = null!;

    /// <summary>The ends of streams whose guest has gone. They outlive the driver.</summary>
    internal VsockRemainders Remainders { get; }

    /// <summary>Whether the guest can be given anything: a machine that is paused can't.</summary>
    internal bool IsReceiving { get; private set; }

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

    /// <inheritdoc/>
    protected override void OnDriver(DriverSession driver)
    {
        ArgumentNullException.ThrowIfNull(driver);
        Timers = ReactorTimers.Of(driver.Reactor);
        Volatile.Write(ref _connections, new VsockConnections(this, Spec.ConnectionsMax));
        _serveSoon.Connect(driver);
        _retry = Timers.Create((_, _) => RetryConnects(), Name);
        StartEvents(driver);
        _listener.Start(driver.Reactor);
    }

    /// <inheritdoc/>
    protected override void OnDriverGone()
    {
        StopEvents();
        _retry?.Cancel();
        _listener.Stop();
        foreach (VsockConnection connection in _connections!.Live.ToArray()) connection.GuestLeft();
        Volatile.Write(ref _connections, null);
        _refusals.Clear();
        _serveSoon.Disconnect();
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing) _listener?.Dispose();
        base.Dispose(disposing);
    }

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
}
