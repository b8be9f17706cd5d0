namespace Vmm.Devices.Sandbox;

/// <summary>The descriptors by which a process and its broker speak to each other: one end of each of two pairs.</summary>
/// <param name="Requests">Requests go to the broker, and descriptors come back.</param>
/// <param name="Connections">Connections to the control API come from the broker.</param>
internal sealed record BrokerChannels(int Requests, int Connections)
{
    /// <summary>Whether programs that this process executes get them.</summary>
    internal void SetInherited(bool inherited)
    {
        foreach (int fd in (ReadOnlySpan<int>)[Requests, Connections]) _ = SandboxCalls.SetInherited(fd, inherited);
    }

    /// <summary>Closes them.</summary>
    internal void Close()
    {
        foreach (int fd in (ReadOnlySpan<int>)[Requests, Connections]) new OwnedFd(fd).Dispose();
    }
}
