namespace Vmm.Devices;

/// <summary>Sockets between guest and host as they are described: <c>cid=N,uds=BASE</c>.</summary>
public sealed record VsockSpec : DeviceSpec
{
    /// <summary>Highest value of <see cref="ConnectionsMax"/>.</summary>
    public const int ConnectionsLimit = 65536;

    /// <summary>How an operator names one.</summary>
    internal static DeviceKind Kind { get; } = new()
    {
        Name = "vsock",
        Syntax = "cid=N,uds=BASE[,connections=N]",
        Description = "Sockets of the guest: it reaches host port P at the Unix socket BASE_P, and is reached at BASE by 'CONNECT P'.",
        IsSingle = true,
        DeviceName = index => $"vsock{index}",
        Parse = DeviceKind.Each(Parse),
    };

    /// <summary>The guest's context id, <see cref="VsockDevice.CidMin"/> to <see cref="VsockDevice.CidMax"/>.</summary>
    public uint Cid { get; set; }

    /// <summary>The Unix socket the host connects to; with <c>_</c> and a port, those the guest reaches.</summary>
    public string Uds { get; set; } = "";

    /// <summary>Most connections at once, both directions together, those that are being set up included. One more is reset.</summary>
    public int ConnectionsMax { get; set; } = 4096;

    /// <summary>
    /// How long the host side of a connection may take for its <c>CONNECT</c> line, the guest for its answer, and a host socket whose
    /// backlog is full for a place in it.
    /// </summary>
    public TimeSpan ConnectTimeout { get; set; } = TimeSpan.FromSeconds(2);

    /// <summary>
    /// How long a program of the host that connects while the guest has no driver waits for one, at most: a guest in its firmware. It may
    /// wait half as long.
    /// </summary>
    public TimeSpan DriverTimeout { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>Reads a text such as <c>cid=3,uds=/run/vm/vsock</c>.</summary>
    /// <exception cref="DeviceSpecException">It makes no sense; the message says what does.</exception>
    public static VsockSpec Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        SpecText vsock = SpecText.Parse(text, ["cid", "uds", "connections"]);
        string uds = vsock.Required("uds");
        VsockSpec standard = new();
        _ = vsock.Required("cid");
        return standard with
        {
            Uds = uds,
            Cid = (uint)vsock.Number("cid", (int)VsockDevice.CidMin, int.MaxValue)!.Value,
            ConnectionsMax = vsock.Number("connections", 1, ConnectionsLimit) ?? standard.ConnectionsMax,
        };
    }

    /// <inheritdoc/>
    public override IEnumerable<string> Failures(string name)
    {
        if (VsockDevice.Failure(name, Cid, Uds) is { } failure) yield return failure;
        if (ConnectionsMax is < 1 or > ConnectionsLimit)
            yield return $"vsock '{name}' of {ConnectionsMax} connections: give it 1 to {ConnectionsLimit}";
        if (ConnectTimeout <= TimeSpan.Zero || ConnectTimeout > TimeSpan.FromHours(1))
            yield return $"vsock '{name}' waits {ConnectTimeout} for a connection: give it more than nothing and at most an hour";
        if (DriverTimeout < TimeSpan.FromMilliseconds(2) || DriverTimeout > TimeSpan.FromHours(1))
            yield return $"vsock '{name}' waits {DriverTimeout} for a driver: give it at least 2 ms and at most an hour";
    }

    /// <inheritdoc/>
    public override IEnumerable<HostAccess> HostAccesses() => [new(HostAccessKind.Listen, Uds), new(HostAccessKind.Connect, Uds)];

    /// <inheritdoc/>
    public override VirtioDevice Open(string name, DeviceSetting? setting = null) => new VsockDevice(name, this);
}
