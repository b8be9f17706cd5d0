namespace Vmm.Devices;

/// <summary>How far a connection is.</summary>
internal enum VsockState
{
    /// <summary>In the pool.</summary>
    Free,
    /// <summary>A host program connected, and has not said to which port.</summary>
    Greeting,
    /// <summary>The guest asked for it; the host's socket has no place in its backlog yet.</summary>
    Connecting,
    /// <summary>The host asked for it; the guest has not answered.</summary>
    Requested,
    /// <summary>Bytes go in both directions, until one side after the other ends.</summary>
    Open,
    /// <summary>All that is left is the RST that the guest has no buffer for yet.</summary>
    Dying,
}
