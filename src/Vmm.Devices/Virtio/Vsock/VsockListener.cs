using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// Where programs of the host connect to reach a port of the guest. While the guest has no driver they wait for one, in bounded number and
/// time: a guest that sits in its firmware must not hold them for ever.
/// </summary>
internal sealed class VsockListener : IDisposable
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;
    private const int Backlog = 1024;

    private readonly VsockDevice _device;
    private readonly UnixSocket _socket;
    private readonly Lock _lock = new();
    /// <summary>Programs that wait for a driver, and since when in milliseconds. Under the lock.</summary>
    private readonly Queue<(UnixSocket Socket, long Since)> _waiting = new();
    private readonly Timer _patience;
    private bool _hasDriver;
    private AcceptLoop? _accepting;
    private bool _disposed;

    /// <summary>Listens; a socket that a process that is gone left behind is replaced.</summary>
    /// <exception cref="KernelException">Another socket listens there, or the directory can't be written.</exception>
    internal VsockListener(VsockDevice device, string path)
    {
        _device = device;
        _socket = UnixEndpoint.ListenAnew(path, OwnerOnly, Backlog);
        // Not a reactor's timer: without a driver the device has no reactor yet.
        _patience = new Timer(_ => LookAfterWaiting());
        AwaitDriver();
    }

    /// <summary>Has a driver: lets those who wait in.</summary>
    internal void Start(IReactor reactor)
    {
        lock (_lock)
        {
            _hasDriver = true;
            _patience.Change(Timeout.Infinite, Timeout.Infinite);
            while (_waiting.TryDequeue(out (UnixSocket Socket, long) program)) _device.Welcome(program.Socket);
        }
        _accepting = new AcceptLoop(_socket.DuplicateSocket(), reactor, Welcome, _device.ReportHost);
        _accepting.Next();
    }

    internal void Stop()
    {
        _accepting?.Stop();
        _accepting = null;
        AwaitDriver();
    }

    public void Dispose()
    {
        if (_disposed) return;
        _disposed = true;
        lock (_lock)
        {
            _hasDriver = true;
            _patience.Dispose();
            while (_waiting.TryDequeue(out (UnixSocket Socket, long) program)) program.Socket.Dispose();
        }
        _socket.RemovePath();
        _socket.Dispose();
    }

    private bool Welcome(UnixSocket program)
    {
        _device.Welcome(program);
        return true;
    }

    private void AwaitDriver()
    {
        lock (_lock)
        {
            if (_disposed) return;
            _hasDriver = false;
            TimeSpan period = _device.Spec.DriverTimeout / 2;
            _patience.Change(period, period);
        }
    }

    /// <summary>Takes those who wait out of the backlog, and lets those go that have waited long enough. On a thread of the pool.</summary>
    private void LookAfterWaiting()
    {
        lock (_lock)
        {
            if (_hasDriver) return;
            long now = Environment.TickCount64;
            while (_waiting.TryPeek(out (UnixSocket Socket, long Since) oldest)
                && now - oldest.Since >= _device.Spec.DriverTimeout.TotalMilliseconds / 2)
            {
                _waiting.Dequeue();
                oldest.Socket.Dispose();
            }
            while (_waiting.Count < _device.Spec.ConnectionsMax && _socket.Accept(out _) is { } program) _waiting.Enqueue((program, now));
        }
    }
}
