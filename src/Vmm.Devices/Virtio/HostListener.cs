using System.Text;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>A Unix socket whose owner takes those who connect one by one, when it is ready for one more. The others wait.</summary>
internal sealed class HostListener : IDisposable
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    private readonly RemoteEndpoint _remote;
    private readonly UnixSocket _socket;
    private AcceptLoop? _accepting;
    private bool _disposed;

    /// <summary>Listens; a socket that a process that is gone left there is replaced.</summary>
    /// <param name="path">At most 107 bytes; only this user may connect. Removed at the end.</param>
    /// <param name="reactor">The reactor that accepts.</param>
    /// <param name="onPeer">Takes a peer over, on the reactor: see <see cref="AcceptLoop"/>. If it returns false, <see cref="TakeNext"/>
    /// says when the next may come.</param>
    /// <exception cref="KernelException">Another socket listens there, something else is there, or the directory can't be
    /// written.</exception>
    internal HostListener(string path, RemoteEndpoint reactor, Func<UnixSocket, IReactor, bool> onPeer)
    {
        _remote = reactor;
        Path = path;
        _socket = UnixEndpoint.ListenAnew(path, OwnerOnly);
        reactor.Post(ops =>
        {
            _accepting = new AcceptLoop(_socket, ops, peer => onPeer(peer, ops));
            _accepting.Next();
        });
    }

    /// <summary>What is wrong with a path for a socket, in a sentence; null if nothing is.</summary>
    internal static string? Failure(string path)
    {
        int bytes = Encoding.UTF8.GetByteCount(path);
        return bytes <= UnixEndpoint.PathBytesMax
            ? null : $"the socket path '{path}' has {bytes} bytes: give it at most {UnixEndpoint.PathBytesMax}";
    }

    /// <summary>Where it listens.</summary>
    internal string Path { get; }

    /// <summary>Has the next come. Any thread.</summary>
    internal void TakeNext() => _accepting!.Next();

    /// <summary>Listens no more, and removes the path. Not on the reactor's thread.</summary>
    public void Dispose()
    {
        if (_disposed) return;
        _disposed = true;
        _socket.RemovePath();
        try
        {
            _remote.Invoke(_ => _accepting?.Stop());
        }
        catch (ReactorStoppedException)
        {
            // The reactor has closed what it watched.
        }
        _socket.Dispose();
    }
}
