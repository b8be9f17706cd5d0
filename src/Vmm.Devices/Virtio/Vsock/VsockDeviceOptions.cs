namespace Vmm.Devices;

/// <summary>What a <see cref="VsockDevice"/> may cost the host. Read once.</summary>
public sealed record VsockDeviceOptions
{
    /// <summary>Highest value of <see cref="ConnectionsMax"/>.</summary>
    public const int ConnectionsLimit = 65536;

    /// <summary>Most connections at once, both directions together, those on their way included. One more is reset.</summary>
    public int ConnectionsMax { get; init; } = 4096;

    /// <summary>
    /// How long the host side of a connection may take for its <c>CONNECT</c> line, the guest for its answer, and a host socket whose backlog is
    /// full for a place in it.
    /// </summary>
    public TimeSpan ConnectTimeout { get; init; } = TimeSpan.FromSeconds(2);

    internal void Validate(string device)
    {
        if (ConnectionsMax is < 1 or > ConnectionsLimit)
            throw new ArgumentException($"vsock '{device}' of {ConnectionsMax} connections: give it 1 to {ConnectionsLimit}");
        if (ConnectTimeout <= TimeSpan.Zero || ConnectTimeout > TimeSpan.FromHours(1))
            throw new ArgumentException($"vsock '{device}' waits {ConnectTimeout} for a connection: give it more than nothing and at most an hour");
    }
}
