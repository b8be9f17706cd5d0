using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// A Unix socket where programs of this host connect to a server that accepts them itself, on no reactor. Only this user and root may
/// connect, from the moment the path appears.
/// </summary>
internal sealed class LocalListener : IDisposable
{
    private readonly UnixSocket _socket;

    /// <summary>Listens; a socket that a process that is gone left there is replaced.</summary>
    /// <param name="path">At most 107 bytes. Removed at the end.</param>
    /// <exception cref="KernelException">Another socket listens there, something else is there, or the directory can't be
    /// written.</exception>
    internal LocalListener(string path) => _socket = UnixEndpoint.ListenAnew(path, UnixFileMode.UserRead | UnixFileMode.UserWrite);

    /// <summary>What listens. It stays this object's.</summary>
    internal OwnedFd Socket => _socket;

    /// <summary>What is wrong with a path for a socket, in a sentence; null if nothing is.</summary>
    internal static string? Failure(string path) => path.Length == 0 ? "give the path of a socket" : HostListener.Failure(path);

    /// <summary>Whether the process at the other end of a connection is of this user or of root.</summary>
    /// <param name="socketNumber">The number of the connection's descriptor.</param>
    internal static bool IsPeerTrusted(int socketNumber) => UnixSocket.IsPeerTrusted(socketNumber);

    /// <summary>Listens no more, and removes the path if it still names this socket.</summary>
    public void Dispose()
    {
        _socket.RemovePath();
        _socket.Dispose();
    }
}
