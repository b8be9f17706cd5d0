using System.Buffers.Binary;
using System.Text;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// Sockets between guest and host (virtio 1.2 § 5.10), by the convention of hybrid vsock: a guest that connects to port P of the host reaches
/// the Unix socket <c>PATH_P</c>; who connects to the Unix socket <c>PATH</c> and says <c>CONNECT P\n</c> reaches port P of the guest, and
/// hears <c>OK N\n</c> when the guest accepted, where N is the port the guest sees.
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
    private Doorbell? _serveSoon;

    /// <summary>Makes the device, and listens on its socket with mode 0600; one that a process that is gone left behind is replaced.</summary>
    /// <param name="name">For messages and measurements: <c>vsock0</c>.</param>
    /// <param name="cid">The guest's context id, <see cref="CidMin"/> to <see cref="CidMax"/>.</param>
    /// <param name="path">The Unix socket the host connects to, at most <see cref="PathBytesMax"/> bytes; removed when the device is disposed.</param>
    /// <param name="options">What it may cost; null for the defaults.</param>
    /// <exception cref="ArgumentException">The context id, the path or an option is out of its range.</exception>
    /// <exception cref="KernelException">Somebody listens on the path, or its directory can't be written.</exception>
    public VsockDevice(string name, uint cid, string path, VsockDeviceOptions? options = null)
        : base(VirtioDeviceType.Socket, name, VsockProtocol.ConfigLength)
    {
        Validate(name, cid, path);
        Options = options ?? new VsockDeviceOptions();
        Options.Validate(name);
        GuestCid = cid;
        Path = path;
        AddQueue("receive", QueueSize, ServeReceive);
        AddQueue("transmit", QueueSize, ServeTransmit);
        AddQueue("event", EventQueueSize, ServeEvents);
        Span<byte> config = stackalloc byte[VsockProtocol.ConfigLength];
        BinaryPrimitives.WriteUInt64LittleEndian(config, cid);
        Config.Update(0, config);
        _listener = new VsockListener(this, path);
    }

    /// <summary>The guest's context id.</summary>
    public uint GuestCid { get; }

    /// <summary>The Unix socket the host connects to.</summary>
    public string Path { get; }

    /// <summary>Connections there are, those on their way included. Any thread.</summary>
    public int Connections => Volatile.Read(ref _connections)?.Count ?? 0;

    /// <inheritdoc/>
    public override ulong Features => VsockProtocol.FeatureStream | VsockProtocol.FeatureSeqPacket;

    internal VsockDeviceOptions Options { get; }

    internal IReactor Reactor => Activation!.Reactor;

    internal ReactorTimers Timers { get; private set; } = null!;

    /// <summary>Whether a device can be made of these; the message of the exception says why not.</summary>
    internal static void Validate(string name, uint cid, string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        if (cid is < CidMin or > CidMax) throw new ArgumentException($"vsock '{name}' has context id {cid}: give it {CidMin} to {CidMax}");
        if (Encoding.UTF8.GetByteCount(path) > PathBytesMax)
            throw new ArgumentException($"vsock '{name}': the path '{path}' is too long, with '_' and a port it has to fit into 107 bytes: give it at most {PathBytesMax}");
    }

    /// <inheritdoc/>
    protected override void OnActivate(DeviceActivation activation)
    {
        ArgumentNullException.ThrowIfNull(activation);
        Timers = ReactorTimers.Of(activation.Reactor);
        Volatile.Write(ref _connections, new VsockConnections(this, Options.ConnectionsMax));
        _serveSoon = activation.Remote.CreateDoorbell(_ => ServeSoon());
        _retry = Timers.Create((_, _) => RetryConnects(), Name);
        StartEvents(activation);
        _listener.Start(activation.Reactor, Timers);
    }

    /// <inheritdoc/>
    protected override void OnQueueStarted(VirtQueue queue, IReactor reactor)
    {
        ArgumentNullException.ThrowIfNull(queue);
        if (queue.Index == VsockProtocol.TransmitQueue) _keptChainsMax = queue.Size / KeptChainsShare;
        if (queue.Index == VsockProtocol.ReceiveQueue) LookForPredecessor(queue);
    }

    /// <inheritdoc/>
    protected override void OnQueueStopping(VirtQueue queue)
    {
        ArgumentNullException.ThrowIfNull(queue);
        if (queue.Index == VsockProtocol.ReceiveQueue) _buffers.GiveBack(queue);
        if (queue.Index != VsockProtocol.TransmitQueue) return;
        foreach (VsockConnection connection in _connections!.Live) connection.GiveChainsBack();
    }

    /// <inheritdoc/>
    protected override void OnReset()
    {
        StopEvents();
        _retry?.Cancel();
        _listener.Stop(Reactor);
        foreach (VsockConnection connection in _connections!.Live.ToArray()) Close(connection);
        Volatile.Write(ref _connections, null);
        _refusals.Clear();
        _serveSoon = null;
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing) _listener?.Dispose();
        base.Dispose(disposing);
    }

    /// <summary>Somebody on the host connected.</summary>
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

    internal void TellOfGuest(GuestFault fault) => CountGuestFault(fault);

    internal void TellOfHost(Errno errno, string what) => ReportHostFault(errno, what, $"socket '{Path}'");

    /// <summary>A port nobody listens on is nobody's fault.</summary>
    internal void TellOfConnect(Errno errno, uint port)
    {
        if (errno is not (Errno.NoEntry or Errno.ConnectionRefused)) ReportHostFault(errno, "cannot connect the guest", $"socket '{PathOf(port)}'");
    }
}
