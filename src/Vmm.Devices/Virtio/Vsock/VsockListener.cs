using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>Where programs of the host connect to reach a port of the guest. While the guest has no driver they wait in the backlog.</summary>
internal sealed class VsockListener : IDisposable
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;
    private const int Backlog = 1024;

    /// <summary>Most connections accepted in one turn; then the devices have theirs.</summary>
    private const int AcceptsPerTurnMax = 64;

    /// <summary>How long those who wait do so when this process can open no more descriptors.</summary>
    private static readonly TimeSpan Retry = TimeSpan.FromMilliseconds(100);

    private readonly VsockDevice _device;
    private readonly string _path;
    private readonly UnixSocket _socket;
    private Subscription<UnixSocket>? _watch;
    private ReactorTimer? _again;
    private bool _disposed;

    /// <summary>Listens; a socket that a process that is gone left behind is replaced.</summary>
    /// <exception cref="KernelException">Somebody listens there, or the directory can't be written.</exception>
    internal VsockListener(VsockDevice device, string path)
    {
        _device = device;
        _path = path;
        _socket = UnixSocket.ListenAnew(path, OwnerOnly, Backlog);
    }

    /// <summary>Has a driver: lets those who wait in.</summary>
    internal void Start(IReactor reactor, ReactorTimers timers)
    {
        _again = timers.Create((_, _) => Accept(), "a vsock listener");
        _watch = Interest.Readable.EdgeTriggered.WithFd(_socket.DuplicateSocket()).WithHandler(_ => Accept()).RegisterInto(reactor);
    }

    internal void Stop(IReactor reactor)
    {
        _again?.Cancel();
        if (_watch is not null) reactor.Remove(_watch);
        _watch = null;
    }

    public void Dispose()
    {
        if (_disposed) return;
        _disposed = true;
        _socket.Dispose();
        File.Delete(_path);
    }

    private void Accept()
    {
        for (int i = 0; i < AcceptsPerTurnMax; i++)
        {
            UnixSocket? socket = _socket.Accept(out Errno errno);
            if (socket is not null)
            {
                _device.Welcome(socket);
                continue;
            }
            if (errno == Errno.Again) return;
            // It left before it was accepted, or there is no descriptor for it. Nobody says when there is.
            _device.TellOfHost(errno, "cannot accept a connection");
            _again!.Arm(Retry);
            return;
        }
        _again!.Arm(TimeSpan.Zero);
    }
}
