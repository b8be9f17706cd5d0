using System.Numerics;

namespace Vmm.Devices;

/// <summary>
/// A network card as it is described, on a TAP interface or on a socket: <c>tap=NAME,mac=A,queues=N</c> …, <c>uds=PATH</c> …
/// </summary>
public sealed record NetSpec : DeviceSpec
{
    /// <summary>Most queue pairs: a vCPU needs one.</summary>
    public const int QueuePairsMax = 64;

    /// <summary>Smallest MTU (virtio 1.2 § 5.1.4.1).</summary>
    public const int MtuMin = 68;

    /// <summary>Largest MTU.</summary>
    public const int MtuMax = ushort.MaxValue;

    private const ushort QueueSizeStandard = 256;

    /// <summary>Front-ends ask for 256 (QEMU) to 1024.</summary>
    private const ushort QueueSizeOverVhostUser = 1024;

    /// <summary>The value for a front-end that asks; most set their own (NET_MTU).</summary>
    private const int MtuOverVhostUser = 1500;

    /// <summary>How an operator names one.</summary>
    internal static DeviceKind Kind { get; } = new()
    {
        Name = "net",
        Syntax = "tap=NAME|uds=PATH[,mac=A][,queues=N][,size=N][,mtu=N][,pcap=FILE]" + LimitSpec.Syntax,
        Description = "A network card: on a TAP interface, or on a Unix socket, where the first of two processes to come listens. "
            + "May be given several times.",
        DeviceName = index => $"net{index}",
        Parse = DeviceKind.Each(Parse),
    };

    /// <summary>The TAP interface, see <see cref="TapInterface.Open"/>.</summary>
    public string? Tap { get; set; }

    /// <summary>The path of a Unix socket, see <see cref="NetSocket.Open"/>.</summary>
    public string? Uds { get; set; }

    /// <summary>
    /// Queue pairs, a receive and a transmit queue each; no more than the network has. Each pair may be served by a reactor of its own.
    /// </summary>
    public int QueuePairs { get; set; } = 1;

    /// <summary>Most entries of each queue, a power of two; null: what is usual where the card is.</summary>
    public ushort? QueueSize { get; set; }

    /// <summary>The guest's address; null: a random one.</summary>
    public MacAddress? Mac { get; set; }

    /// <summary>
    /// The largest packet the guest should send, in bytes, that of IP counted and that of Ethernet not. Null: the guest gets no value.
    /// </summary>
    public int? Mtu { get; set; }

    /// <summary>
    /// A file that gets every frame, for tcpdump(1); it must not be there yet, and ends after 1 GiB. Null: none.
    /// </summary>
    public string? Capture { get; set; }

    /// <summary>How many frames, and bytes, its guest may send a second; null for no limit.</summary>
    public LimitSpec? Limit { get; set; }

    /// <summary>The link speed in the configuration space, in Mb/s. Nothing enforces it.</summary>
    public uint SpeedMbps { get; set; } = 10_000;

    /// <summary>
    /// Whether the driver gets a control queue: receive filters, address, queue pairs. Front-ends of vhost-user have one of their own and
    /// keep it.
    /// </summary>
    public bool HasControlQueue { get; set; } = true;

    internal ushort QueueSizeInForce => QueueSize ?? QueueSizeStandard;

    /// <summary>Reads a text such as <c>tap=vm0,mac=02:00:00:00:00:01</c>; <c>socket=</c> is another word for <c>uds=</c>.</summary>
    /// <exception cref="DeviceSpecException">It makes no sense; the message says what does.</exception>
    public static NetSpec Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        SpecText net = SpecText.Parse(text, ["tap", "uds", "socket", "mac", "queues", "size", "mtu", "pcap", .. LimitSpec.Keys]);
        string? tap = net.Value("tap"), uds = net.Value("uds"), socket = net.Value("socket");
        if (new[] { tap, uds, socket }.Count(way => way is not null) != 1)
            throw net.Refused("give either 'tap=…' or 'uds=…', what the card is connected to");
        MacAddress mac = default;
        if (net.Value("mac") is { } address && !MacAddress.TryParse(address, out mac))
            throw net.Refused($"'mac={address}': give six bytes such as 02:00:00:00:00:01");
        return new NetSpec
        {
            Tap = tap,
            Uds = uds ?? socket,
            QueuePairs = net.Number("queues", 1, QueuePairsMax) ?? 1,
            QueueSize = (ushort?)net.Number("size", 4, VirtQueue.SizeLimit),
            Mac = net.Value("mac") is null ? null : mac,
            Mtu = net.Number("mtu", MtuMin, MtuMax),
            Capture = net.Value("pcap"),
            Limit = LimitSpec.Parse(net),
        };
    }

    /// <inheritdoc/>
    public override IEnumerable<string> Failures(string name)
    {
        if (string.IsNullOrEmpty(Tap) == string.IsNullOrEmpty(Uds)) yield return $"network '{name}': name either its tap or its socket";
        else if (Uds is not null && QueuePairs > 1) yield return $"network '{name}' has {QueuePairs} queue pairs: a socket has one";
        else if (Uds is not null && HostListener.Failure(Uds) is { } failure) yield return $"network '{name}': {failure}";
        foreach (string failure in DeviceFailures(name).Concat(Limit?.Failures(name) ?? [])) yield return failure;
    }

    /// <inheritdoc/>
    public override VirtioDevice Open(string name, DeviceSetting? setting = null)
    {
        if (Failures(name).FirstOrDefault() is { } failure) throw new ArgumentException(failure);
        NetSpec spec = setting is { OverVhostUser: true }
            ? this with { QueueSize = QueueSize ?? QueueSizeOverVhostUser, Mtu = Mtu ?? MtuOverVhostUser, HasControlQueue = false }
            : this;
        INetBackend backend = Tap is not null ? TapInterface.Open(Tap, QueuePairs) : NetSocket.Open(Uds!);
        try
        {
            NetDevice? device = null;
            if (Capture is not null)
                backend = new CapturedNetwork(backend, PacketCapture.Begin(Capture, errno => device!.ReportCaptureStopped(errno, Capture)));
            device = new NetDevice(name, backend, spec) { Limit = Limit?.Open() };
            return device;
        }
        catch
        {
            backend.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public override IEnumerable<HostAccess> HostAccesses()
    {
        if (Capture is not null) yield return new(HostAccessKind.Append, Capture);
        if (Tap is not null)
        {
            yield return new(HostAccessKind.Tap, Tap);
            yield break;
        }
        yield return new(HostAccessKind.Connect, Uds!);
        yield return new(HostAccessKind.Listen, Uds!);
    }

    internal void Validate(string name, INetBackend backend)
    {
        if (DeviceFailures(name).FirstOrDefault() is { } failure) throw new ArgumentException(failure);
        if (QueuePairs > backend.QueuePairs)
            throw new ArgumentException($"network '{name}' has {QueuePairs} queue pairs: {backend.Description} has {backend.QueuePairs}");
    }

    /// <summary>What is out of its range, whatever the card is connected to.</summary>
    private IEnumerable<string> DeviceFailures(string name)
    {
        if (QueuePairs is < 1 or > QueuePairsMax)
            yield return $"network '{name}' has {QueuePairs} queue pairs: give it 1 to {QueuePairsMax}";
        if (QueueSizeInForce is < 4 or > VirtQueue.SizeLimit || !BitOperations.IsPow2(QueueSizeInForce))
            yield return $"network '{name}' has a queue size of {QueueSize}: give it a power of two from 4 to {VirtQueue.SizeLimit}";
        if (Mtu is < MtuMin or > MtuMax) yield return $"network '{name}' has an MTU of {Mtu}: give it {MtuMin} to {MtuMax}";
        if (Mac is { IsMulticast: true } mac)
            yield return $"network '{name}' has the address {mac}, which names several stations: give it one with an even first byte";
    }
}
