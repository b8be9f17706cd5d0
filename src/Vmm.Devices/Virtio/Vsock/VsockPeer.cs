namespace Vmm.Devices;

/// <summary>A connection between guest and host.</summary>
/// <param name="GuestPort">The guest's port; 0 while a program of the host has not named one.</param>
/// <param name="HostPort">The host's port, as the guest sees it.</param>
/// <param name="Type"><c>stream</c> or <c>seqpacket</c>.</param>
/// <param name="State"><c>greeting</c>: a program of the host has not named a port; <c>connecting</c>: the host's socket has no room yet;
/// <c>requested</c>: the guest has not answered; <c>open</c>; <c>dying</c>: only the news of its end is left for the guest.</param>
/// <param name="CreditBytes">Bytes that the guest may send before the host has read some.</param>
public readonly record struct VsockPeer(uint GuestPort, uint HostPort, string Type, string State, int CreditBytes)
{
    internal static VsockPeer Of(VsockConnection live) => new(live.GuestPort, live.HostPort,
        live.Type == VsockType.Stream ? "stream" : "seqpacket", live.State.ToString().ToLowerInvariant(), live.Granted);
}
