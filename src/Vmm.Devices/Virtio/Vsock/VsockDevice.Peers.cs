namespace Vmm.Devices;

/// <summary>A connection between guest and host.</summary>
/// <param name="GuestPort">The guest's port; 0 while a program of the host has not named one.</param>
/// <param name="HostPort">The host's port, as the guest sees it.</param>
/// <param name="Type"><c>stream</c> or <c>seqpacket</c>.</param>
/// <param name="State"><c>greeting</c>: a program of the host has not named a port; <c>connecting</c>: the host's socket has no room yet;
/// <c>requested</c>: the guest has not answered; <c>open</c>; <c>dying</c>: only the news of its end is left for the guest.</param>
/// <param name="CreditBytes">Bytes that the guest may send before the host has read some.</param>
public readonly record struct VsockPeer(uint GuestPort, uint HostPort, string Type, string State, int CreditBytes);

// Connections as an operator sees them.
public sealed partial class VsockDevice
{
    /// <summary>The connections there are, by ports. On the device's reactor.</summary>
    public IReadOnlyList<VsockPeer> Peers => [.. (_connections?.Live ?? [])
        .Select(live => new VsockPeer(live.GuestPort, live.HostPort, NameOf(live.Type), NameOf(live.State), live.Granted))
        .OrderBy(peer => (peer.GuestPort, peer.HostPort))];

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

    private static string NameOf(VsockType type) => type == VsockType.Stream ? "stream" : "seqpacket";

    private static string NameOf(VsockState state) => state switch
    {
        VsockState.Greeting => "greeting",
        VsockState.Connecting => "connecting",
        VsockState.Requested => "requested",
        VsockState.Open => "open",
        _ => "dying",
    };
}
