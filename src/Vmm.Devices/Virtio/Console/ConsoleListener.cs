using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// Connects a port to the clients of a Unix socket, one after the other: a client that connects while another is served waits until that
/// one hangs up.
/// </summary>
internal sealed class ConsoleListener : IDisposable
{
    private readonly ConsolePort _port;
    private readonly HostListener _listener;

    /// <summary>Listens; a socket that a process that is gone left there is replaced.</summary>
    /// <param name="port">The port that clients are connected to.</param>
    /// <param name="path">At most 107 bytes; only this user may connect. Removed at the end.</param>
    /// <param name="reactor">The reactor that accepts.</param>
    /// <exception cref="KernelException">Another socket listens there, something else is there, or the directory can't be
    /// written.</exception>
    public ConsoleListener(ConsolePort port, string path, RemoteEndpoint reactor)
    {
        _port = port;
        _listener = new HostListener(path, reactor, Serve);
    }

    /// <summary>Where it listens.</summary>
    public string Path => _listener.Path;

    /// <summary>Listens no more, and removes the path. Who is connected stays. Not on the reactor's thread.</summary>
    public void Dispose() => _listener.Dispose();

    private bool Serve(UnixSocket peer, IReactor reactor)
    {
        _port.Connect(peer, new DescriptorOutput(peer.Duplicate()), _listener.TakeNext);
        return false;
    }
}
