using System.Buffers.Binary;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// A network card (virtio 1.2 § 5.1) on a network such as a <see cref="TapInterface"/> or a <see cref="NetSocket"/>. Frames are copied
/// once, by the kernel, between the network and guest memory.
/// </summary>
public sealed class NetDevice : VirtioDevice
{
    private const ushort ControlQueueSize = 64;

    /// <summary>Queues a driver without MULTI_QUEUE has before the control queue (§ 5.1.2).</summary>
    private const int QueuesOfOnePair = 2;

    /// <summary>Most frames that wait, in all: those of a stream that were read at once, each as short as there is one.</summary>
    private const int SavedFramesMax = 32768;

    private readonly NetSpec _spec;
    private readonly NetCounters[] _counters;
    private readonly Lock _lock = new();
    private readonly NetReceiver?[] _receivers;
    private readonly Queue<byte[]>?[] _savedFrames;
    private readonly NetControl _control;
    private volatile bool _isLinkUp = true;

    /// <summary>Makes a network card.</summary>
    /// <param name="name">For messages and measurements: <c>net0</c>.</param>
    /// <param name="backend">The network. The device disposes it.</param>
    /// <param name="spec">How it presents itself; null for the defaults. What it says of the network is the backend's.</param>
    /// <exception cref="ArgumentException">An option is out of its range; the message says which.</exception>
    public NetDevice(string name, INetBackend backend, NetSpec? spec = null)
        : base(VirtioDeviceType.Network, name, NetProtocol.ConfigLength)
    {
        ArgumentNullException.ThrowIfNull(backend);
        _spec = spec ?? new NetSpec();
        _spec.Validate(name, backend);
        VectorCalls.Bind();
        Backend = backend;
        Address = _spec.Mac ?? MacAddress.Random();
        int pairs = _spec.QueuePairs;
        Pairs = new NetPairs(backend, pairs);
        _control = new NetControl(this, Pairs);
        _receivers = new NetReceiver?[pairs];
        _savedFrames = new Queue<byte[]>?[pairs];
        _counters = [.. Enumerable.Range(0, pairs).Select(_ => new NetCounters())];
        for (int i = 0; i < pairs; i++)
        {
            AddQueue($"receive{i}", _spec.QueueSizeInForce, WorkerOf);
            AddQueue($"transmit{i}", _spec.QueueSizeInForce, WorkerOf);
        }
        if (_spec.HasControlQueue) AddQueue("control", ControlQueueSize, WorkerOf);
        WriteConfiguration();
    }

    /// <summary>The network.</summary>
    public INetBackend Backend { get; }

    /// <summary>The address the device was made with. The driver may take another.</summary>
    public MacAddress Address { get; private set; }

    /// <summary>What became of the frames so far. Any thread.</summary>
    public NetStatistics Statistics
    {
        get
        {
            NetStatistics sum = default;
            foreach (NetStatistics pair in _counters.Select(counters => counters.Statistics))
            {
                sum = new NetStatistics(sum.Received + pair.Received, sum.Sent + pair.Sent, sum.Filtered + pair.Filtered,
                    sum.ReceiveDropped + pair.ReceiveDropped, sum.SendDropped + pair.SendDropped);
            }
            return sum;
        }
    }

    /// <summary>Whether the cable is plugged in, as guest and network see it. Any thread.</summary>
    public bool IsLinkUp
    {
        get => _isLinkUp;
        set
        {
            _isLinkUp = value;
            Backend.SetLink(value);
            ChangeStatus(status => value ? (ushort)(status | NetProtocol.StatusLinkUp) : (ushort)(status & ~NetProtocol.StatusLinkUp));
        }
    }

    /// <inheritdoc/>
    public override void Inspect(InspectNode node)
    {
        base.Inspect(node);
        NetStatistics frames = Statistics;
        node.Add("address", Address.ToString());
        node.Add("link-up", IsLinkUp);
        node.Add("received", frames.Received);
        node.Add("sent", frames.Sent);
        node.Add("receive-dropped", frames.ReceiveDropped);
        node.Add("send-dropped", frames.SendDropped);
    }

    /// <inheritdoc/>
    public override ulong Features =>
        NetProtocol.FeatureMac | NetProtocol.FeatureStatus | NetProtocol.FeatureMergeReceive | NetProtocol.FeatureSpeedDuplex
        | (_spec.Mtu is null ? 0 : NetProtocol.FeatureMtu)
        | (Pairs.Count > 1 ? NetProtocol.FeatureMultiQueue : 0)
        | NetOffloadBits.FeaturesOf(Backend.Offloads)
        | (_spec.HasControlQueue ? ControlFeatures : 0);

    private ulong ControlFeatures =>
        NetProtocol.FeatureControl | NetProtocol.FeatureControlReceive | NetProtocol.FeatureControlReceiveExtra
            | NetProtocol.FeatureControlVlan
        | NetProtocol.FeatureControlMac | NetProtocol.FeatureGuestAnnounce
        | (Backend.Offloads.HasFlag(NetOffloads.Checksum) ? NetProtocol.FeatureControlGuestOffloads : 0);

    /// <inheritdoc/>
    /// <remarks>Buffers of receive queues wait for input, and the control queue is for the driver's own settings.</remarks>
    protected override bool IsLimited(int queue) => queue % 2 == 1 && queue < 2 * _spec.QueuePairs;

    /// <inheritdoc/>
    public override bool QueuesAreIndependent => true;

    /// <summary>The queues of a pair go together.</summary>
    public override int QueueGroupOf(int queue) => queue / QueuesOfOnePair;

    /// <inheritdoc cref="NetControl.Filter"/>
    internal NetFilter Filter => _control.Filter;

    internal NetPairs Pairs { get; }

    /// <summary>Bytes of the largest packet, as the configuration space says; null if it says nothing.</summary>
    public int? Mtu => _spec.Mtu;

    /// <summary>
    /// What an offload needs beside itself (§ 5.1.3.1). Several pairs without a control queue are those of a front-end that has its own.
    /// </summary>
    public override bool AcceptsFeatures(ulong features)
    {
        const ulong CutForGuest = NetProtocol.FeatureGuestTso4 | NetProtocol.FeatureGuestTso6 | NetProtocol.FeatureGuestUfo
            | NetProtocol.FeatureGuestUso4 | NetProtocol.FeatureGuestUso6;
        const ulong CutForHost =
            NetProtocol.FeatureHostTso4 | NetProtocol.FeatureHostTso6 | NetProtocol.FeatureHostUfo | NetProtocol.FeatureHostUso;
        bool Has(ulong any) => (features & any) != 0;

        return (!Has(CutForGuest) || Has(NetProtocol.FeatureGuestChecksum))
            && (!Has(CutForHost) || Has(NetProtocol.FeatureChecksum))
            && (!Has(NetProtocol.FeatureGuestEcn) || Has(NetProtocol.FeatureGuestTso4 | NetProtocol.FeatureGuestTso6))
            && (!Has(NetProtocol.FeatureHostEcn) || Has(NetProtocol.FeatureHostTso4 | NetProtocol.FeatureHostTso6));
    }

    /// <summary>Has the guest announce itself to the network, as after a move to another switch (§ 5.1.6.5.4). Any thread.</summary>
    public void Announce() => ChangeStatus(status => (ushort)(status | NetProtocol.StatusAnnounce));

    /// <inheritdoc/>
    protected override void OnDriver(DriverSession driver)
    {
        ArgumentNullException.ThrowIfNull(driver);
        _control.Begin(driver.Features);
    }

    /// <inheritdoc/>
    protected override void OnDriverGone()
    {
        Array.Clear(_receivers);
        Array.Clear(_savedFrames);
        WriteConfiguration();
    }

    /// <inheritdoc/>
    /// <remarks>What its driver asked for, and frames that wait in the card. Frames in flight to it are lost, as on any cable.</remarks>
    protected internal override void Save(StateWriter to)
    {
        ArgumentNullException.ThrowIfNull(to);
        to.Add("address", Address.ToString());
        to.Add("mtu", (long)(_spec.Mtu ?? 0));
        to.Add("link-up", _isLinkUp);
        if (Driver is null) return;
        StateWriter driver = to.AddRecord("driver");
        _control.Save(driver);
        for (int pair = 0; pair < Pairs.Count; pair++)
        {
            foreach (byte[] bytes in _receivers[pair]?.Kept ?? [])
            {
                StateWriter frame = driver.AddItem("frames");
                frame.Add("pair", (long)pair);
                frame.Add("bytes", bytes);
            }
        }
    }

    /// <inheritdoc/>
    /// <remarks>
    /// A card that was given an address keeps it, and shows it to the next driver; the one it has goes on with the address it knows, until
    /// it asks.
    /// </remarks>
    protected internal override void Restore(StateReader from)
    {
        ArgumentNullException.ThrowIfNull(from);
        MacAddress address = NetFilter.AddressOf(from, "address");
        if (from.Int32("mtu", 0, ushort.MaxValue) is var mtu && mtu != (_spec.Mtu ?? 0))
            throw from.Wrong("mtu", $"is {mtu}, and '{Name}' has {_spec.Mtu ?? 0}: give it the one it had");
        if (_spec.Mac is null) Address = address;
        if (from.Boolean("link-up") is var isUp && isUp != _isLinkUp) IsLinkUp = isUp;
        MacAddress shown = Address;
        if (Driver is { } session)
        {
            StateReader driver = from.Record("driver");
            _control.Restore(driver);
            // The driver may have taken another one than the card's.
            if (Filter.Address != address) shown = Filter.Address;
            int least = NetProtocol.HeaderLength(session.Features) + NetProtocol.EthernetHeaderLength;
            foreach (StateReader frame in driver.Items("frames", SavedFramesMax))
            {
                byte[] saved = frame.Bytes("bytes", NetProtocol.FrameBytesMax);
                if (saved.Length < least) throw frame.Wrong("bytes", $"has {saved.Length}, fewer than {least}");
                (_savedFrames[frame.Int32("pair", 0, Pairs.Count - 1)] ??= []).Enqueue(saved);
            }
            // It may be behind another port of a switch now.
            if (Has(NetProtocol.FeatureGuestAnnounce)) Announce();
        }
        Span<byte> bytes = stackalloc byte[MacAddress.Length];
        shown.CopyTo(bytes);
        Config.Update(NetProtocol.ConfigMac, bytes);
    }

    /// <summary>The frames that the card of another process kept for a queue, once.</summary>
    internal Queue<byte[]> TakeSavedFrames(int pair)
    {
        Queue<byte[]> frames = _savedFrames[pair] ?? [];
        _savedFrames[pair] = null;
        return frames;
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing) Backend.Dispose();
        base.Dispose(disposing);
    }

    internal void ReportReceiveFault(Errno error) => ReportHostFault(error, "cannot receive from the network", Backend.Description);

    internal void ReportCaptureStopped(Errno error, string path) => ReportHostFault(error, "cannot capture more frames", path);

    internal void ReportSendFault(Errno error) => ReportHostFault(error, "cannot send to the network", Backend.Description);

    /// <summary>
    /// The number of the control queue: the last one, or the third for a driver that knows one pair only (§ 5.1.2). -1 if there is none.
    /// </summary>
    private int ControlQueue => !Has(NetProtocol.FeatureControl) ? -1
        : Has(NetProtocol.FeatureMultiQueue) ? QueuesOfOnePair * Pairs.Count
        : QueuesOfOnePair;

    private bool Has(ulong feature) => ((Driver?.Features ?? 0) & feature) != 0;

    /// <summary>
    /// A queue of a pair, the control queue, or one that means nothing to a driver of these features: whatever it puts there stays there.
    /// </summary>
    private QueueWorker WorkerOf(QueueContext context)
    {
        int pair = context.Index / QueuesOfOnePair;
        if (context.Index == ControlQueue) return new SimpleWorker(context, _control.Serve);
        if (pair >= Pairs.Count) return new SimpleWorker(context, _ => { });
        return context.Index % QueuesOfOnePair == 0
            ? _receivers[pair] = new NetReceiver(this, context, pair, _counters[pair])
            : new NetTransmitter(this, context, pair, _counters[pair]);
    }

    private void WriteConfiguration()
    {
        byte[] config = new byte[NetProtocol.ConfigLength];
        Address.CopyTo(config.AsSpan(NetProtocol.ConfigMac));
        BinaryPrimitives.WriteUInt16LittleEndian(config.AsSpan(NetProtocol.ConfigStatus), _isLinkUp ? NetProtocol.StatusLinkUp : (ushort)0);
        BinaryPrimitives.WriteUInt16LittleEndian(config.AsSpan(NetProtocol.ConfigPairsMax), (ushort)Pairs.Count);
        BinaryPrimitives.WriteUInt16LittleEndian(config.AsSpan(NetProtocol.ConfigMtu), (ushort)(_spec.Mtu ?? 0));
        BinaryPrimitives.WriteUInt32LittleEndian(config.AsSpan(NetProtocol.ConfigSpeed), _spec.SpeedMbps);
        config[NetProtocol.ConfigDuplex] = NetProtocol.FullDuplex;
        Config.Update(0, config);
    }

    internal void ChangeStatus(Func<ushort, ushort> change)
    {
        lock (_lock)
        {
            Span<byte> status = stackalloc byte[sizeof(ushort)];
            Config.Read(NetProtocol.ConfigStatus, status);
            BinaryPrimitives.WriteUInt16LittleEndian(status, change(BinaryPrimitives.ReadUInt16LittleEndian(status)));
            ChangeConfig(NetProtocol.ConfigStatus, status);
        }
    }
}
