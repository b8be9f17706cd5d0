using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// Leads a port to whoever connects to a Unix socket, one after the other: who comes while another is there waits until that one hangs up.
/// </summary>
public sealed class ConsoleListener : IDisposable
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    private readonly ConsolePort _port;
    private readonly RemoteEndpoint _remote;
    private readonly Doorbell _next;
    private readonly Subscription<UnixSocket> _waiting;
    private bool _disposed;

    /// <summary>Listens.</summary>
    /// <param name="port">The port to lead to whoever connects.</param>
    /// <param name="path">A path that does not exist yet, at most 107 bytes; only this user may connect. Removed at the end.</param>
    /// <param name="reactor">The reactor that accepts.</param>
    /// <exception cref="KernelException">The path exists, or its directory can't be written.</exception>
    public ConsoleListener(ConsolePort port, string path, RemoteEndpoint reactor)
    {
        ArgumentNullException.ThrowIfNull(port);
        ArgumentException.ThrowIfNullOrEmpty(path);
        ArgumentNullException.ThrowIfNull(reactor);
        _port = port;
        _remote = reactor;
        Path = path;
        _waiting = Interest.Readable.OneShot.WithFd(UnixSocket.Listen(path, OwnerOnly)).WithHandler(Accept);
        _next = reactor.CreateDoorbell(ops =>
        {
            if (_waiting.IsRegistered) ops.Modify(_waiting, Interest.Readable.OneShot);
        });
        reactor.Post(ops => ops.Add(_waiting));
    }

    /// <summary>Where it listens.</summary>
    public string Path { get; }

    /// <summary>Listens no more, and removes the path. Who is connected stays. Not on the reactor's thread.</summary>
    public void Dispose()
    {
        if (_disposed) return;
        _disposed = true;
        try
        {
            _remote.Invoke(ops => ops.Remove(_waiting));
        }
        catch (ReactorStoppedException)
        {
            _waiting.Fd.Dispose();
        }
        File.Delete(Path);
    }

    private void Accept(UnixSocket listening, IReactor reactor)
    {
        using UnixSocket? peer = listening.Accept(out _);
        // It left before it was accepted, or there is no descriptor for it: the next one may have more luck.
        if (peer is null) reactor.Modify(_waiting, Interest.Readable.OneShot);
        else _port.Connect(peer.Duplicate(), new DescriptorOutput(peer.Duplicate()), () => _next.TryRing());
    }
}
