using System.Buffers.Binary;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// A console (virtio 1.2 § 5.3): ports of bytes between guest and host. With one port it is a plain console; with more, or if asked for,
/// the driver learns of them by control messages.
/// </summary>
public sealed partial class ConsoleDevice : VirtioDevice
{
    /// <summary>Most ports: each costs two queues and an input buffer.</summary>
    public const int PortsMax = 32;

    /// <summary>How long the end of a device waits for a host side that takes nothing.</summary>
    private static readonly TimeSpan FinishPatience = TimeSpan.FromMilliseconds(100);

    /// <summary>Most characters of emergency writes that wait for the reactor; those of a driver that is faster are lost.</summary>
    private const int EmergencyBytesMax = 4096;

    private const ushort DataQueueSize = 128;
    private const ushort ControlQueueSize = 64;

    private readonly ConsoleChannel[] _channels;
    private readonly bool _offersMultiport;
    private readonly Lock _sizeLock = new();
    private ConsoleSize _size;
    private readonly DriverBell _resized;
    private bool _multiport;
    private bool _hasSize;
    private readonly Lock _emergencyLock = new();
    private readonly CircularBytes _emergency = new(EmergencyBytesMax);

    /// <summary>Makes a console.</summary>
    /// <param name="name">For messages and measurements: <c>console0</c>.</param>
    /// <param name="ports">Its ports; the device closes their host sides. The first is what a driver without MULTIPORT uses.</param>
    /// <exception cref="ArgumentException">There is no port, or too many, or two have one name.</exception>
    public ConsoleDevice(string name, params ConsolePort[] ports) : base(VirtioDeviceType.Console, name, ConsoleProtocol.ConfigLength)
    {
        Validate(name, ports);
        _resized = new DriverBell(SendSize);
        // A console alone needs no control messages; several ports can't be named or distinguished without them.
        _offersMultiport = ports.Length > 1 || !ports[0].IsConsole;
        _channels = [.. ports.Select((port, i) => new ConsoleChannel(this, port, i))];
        for (int i = 0; i < ports.Length; i++)
        {
            ConsoleChannel channel = _channels[i];
            AddQueue($"receive{i}", DataQueueSize, channel.ServeReceive);
            AddQueue($"transmit{i}", DataQueueSize, context => new TransmitWorker(context, channel));
            if (i > 0 || !_offersMultiport) continue;
            AddQueue("control-receive", ControlQueueSize, ServeControlReceive);
            AddQueue("control-transmit", ControlQueueSize, ServeControlTransmit);
        }
        Span<byte> portsMax = stackalloc byte[sizeof(uint)];
        BinaryPrimitives.WriteInt32LittleEndian(portsMax, ports.Length);
        Config.Update(ConsoleProtocol.ConfigPortsMax, portsMax);
        Config.AllowWrites(ConsoleProtocol.ConfigEmergencyWrite, TakeEmergency);
    }

    /// <summary>Its ports, by number.</summary>
    public IReadOnlyList<ConsolePort> Ports => [.. _channels.Select(channel => channel.Port)];

    /// <inheritdoc/>
    public override ulong Features =>
        ConsoleProtocol.FeatureSize | ConsoleProtocol.FeatureEmergencyWrite | (_offersMultiport ? ConsoleProtocol.FeatureMultiport : 0);

    /// <summary>Reports the size of the first console's terminal to the guest. Any thread.</summary>
    public void Resize(ushort columns, ushort rows)
    {
        lock (_sizeLock) SetSize(columns, rows);
        _resized.Ring();
    }

    private void SetSize(ushort columns, ushort rows)
    {
        _size = new ConsoleSize { Columns = columns, Rows = rows };
        Span<byte> config = stackalloc byte[4];
        BinaryPrimitives.WriteUInt16LittleEndian(config, columns);
        BinaryPrimitives.WriteUInt16LittleEndian(config[2..], rows);
        Config.Update(ConsoleProtocol.ConfigSize, config);
    }

    /// <summary>Shows its consoles to further viewers. Other ports carry what programs say to each other.</summary>
    internal void Mirror()
    {
        foreach (ConsoleChannel channel in _channels.Where(channel => channel.Port.IsConsole)) channel.Port.Mirror = new ConsoleMirror();
    }

    internal static void Validate(string name, ConsolePort[] ports)
    {
        ArgumentNullException.ThrowIfNull(ports);
        if (ports.Length is 0 or > PortsMax)
            throw new ArgumentException($"console '{name}' has {ports.Length} ports: give it 1 to {PortsMax}");
        if (ports.GroupBy(port => port.Name).FirstOrDefault(group => group.Count() > 1) is { } twins)
            throw new ArgumentException($"console '{name}' has two ports called '{twins.Key}': give each a name of its own");
    }

    /// <inheritdoc/>
    protected override void OnDriver(DriverSession driver)
    {
        ArgumentNullException.ThrowIfNull(driver);
        _multiport = (driver.Features & ConsoleProtocol.FeatureMultiport) != 0;
        _hasSize = (driver.Features & ConsoleProtocol.FeatureSize) != 0;
        _resized.Connect(driver);
        foreach (ConsoleChannel channel in _channels)
        {
            if (_multiport || channel.Index == 0) channel.Start(driver.Reactor, driver.Remote, guestOpen: !_multiport);
        }
    }

    /// <inheritdoc/>
    protected override void OnDriverGone()
    {
        _resized.Disconnect();
        foreach (ConsoleChannel channel in _channels) channel.Stop();
    }

    /// <inheritdoc/>
    /// <remarks>
    /// Emergency writes (virtio 1.2 § 5.3.4): characters that a driver prints before its queues run, or when they can't any more.
    /// </remarks>
    protected override void OnConfigWritten(int offset, int length)
    {
        Span<byte> bytes = stackalloc byte[EmergencyBytesMax];
        lock (_emergencyLock)
        {
            bytes = bytes[.._emergency.Peek(bytes)];
            _emergency.Skip(bytes.Length);
        }
        // Ahead of what waits in the transmit queue, and without waiting for room.
        if (bytes.Length > 0) _channels[0].Port.WriteNow(bytes);
    }

    /// <summary>A character was written. On a vCPU's thread.</summary>
    private void TakeEmergency(byte value)
    {
        lock (_emergencyLock) _emergency.Write([value]);
    }

    /// <inheritdoc/>
    /// <remarks>Terminals, files and sockets are the process's; bytes in flight go with the device.</remarks>
    protected internal override void Save(StateWriter to)
    {
        ArgumentNullException.ThrowIfNull(to);
        lock (_sizeLock)
        {
            to.Add("columns", (long)_size.Columns);
            to.Add("rows", (long)_size.Rows);
        }
        foreach (ConsoleChannel channel in _channels) channel.Save(to.AddItem("ports"));
    }

    /// <inheritdoc/>
    /// <remarks>A terminal of this process that has a size already is the one the guest sees.</remarks>
    protected internal override void Restore(StateReader from)
    {
        ArgumentNullException.ThrowIfNull(from);
        IReadOnlyList<StateReader> ports = from.Items("ports", PortsMax);
        if (ports.Count != _channels.Length)
            throw from.Wrong("ports", $"are {ports.Count}, and console '{Name}' has {_channels.Length}");
        ushort columns = (ushort)from.Int32("columns", 0, ushort.MaxValue), rows = (ushort)from.Int32("rows", 0, ushort.MaxValue);
        foreach ((ConsoleChannel channel, StateReader port) in _channels.Zip(ports))
        {
            channel.Restore(port, _multiport);
            if (channel.IsConnected != port.Boolean("connected")) HostOpened(channel);
        }
        bool isOther;
        lock (_sizeLock)
        {
            if (_size is { Columns: 0, Rows: 0 }) SetSize(columns, rows);
            isOther = _size.Columns != columns || _size.Rows != rows;
        }
        if (isOther) SendSize();
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            foreach (ConsoleChannel channel in _channels)
            {
                channel.Finish(FinishPatience);
                channel.Port.Disconnect();
                channel.Port.Mirror?.End();
            }
        }
        base.Dispose(disposing);
    }

    internal void ReportOutputFault(Errno error, ConsolePort port) =>
        ReportHostFault(error, "cannot write what the guest prints", $"port '{port.Name}'");

    /// <summary>The transmit queue of a port.</summary>
    private sealed class TransmitWorker : QueueWorker
    {
        private readonly ConsoleChannel _channel;

        internal TransmitWorker(QueueContext context, ConsoleChannel channel) : base(context)
        {
            _channel = channel;
            ConsoleChannel.Limit(context.Turn);
        }

        public override void Serve() => _channel.ServeTransmit(Context);

        public override void Quiesce(QuiesceReason reason) => _channel.StopTransmit(Queue, reason);
    }
}
