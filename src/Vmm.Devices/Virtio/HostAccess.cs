namespace Vmm.Devices;

/// <summary>What a device does with something of the host.</summary>
public enum HostAccessKind
{
    /// <summary>Reads a file, or everything below a directory.</summary>
    Read,
    /// <summary>Reads and writes a file or a device node that is there, or what is below a directory.</summary>
    Write,
    /// <summary>Writes to the end of a file, which is made if it is not there.</summary>
    Append,
    /// <summary>Makes a Unix socket at a path, and removes it at the end.</summary>
    Listen,
    /// <summary>Connects to Unix sockets.</summary>
    Connect,
    /// <summary>Connects to a port over TCP; port 0 stands for any.</summary>
    ConnectTcp,
    /// <summary>Attaches to a TAP interface, whose name is the path.</summary>
    Tap,
    /// <summary>Makes a pseudo-terminal.</summary>
    Terminal,
    /// <summary>Loads libraries of the host while it works.</summary>
    Libraries,
    /// <summary>Listens at a port over TCP, from its start on.</summary>
    ListenTcp,
    /// <summary>Saves a machine to a directory that is not there yet: a broker's to make (<see cref="Sandbox.HostBroker"/>).</summary>
    Save,
}

/// <summary>Something of the host that a device opens, now or later: what a sandbox has to leave to it.</summary>
/// <param name="Kind">What it does.</param>
/// <param name="Path">With what; empty if the kind says it all.</param>
/// <param name="Port">The port of <see cref="HostAccessKind.ConnectTcp"/> and <see cref="HostAccessKind.ListenTcp"/>.</param>
public readonly record struct HostAccess(HostAccessKind Kind, string Path = "", int Port = 0);
