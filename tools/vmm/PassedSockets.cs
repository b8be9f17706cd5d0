using System.Globalization;
using System.Net.Sockets;
using Vmm.Devices;
using Vmm.Events;

namespace Vmm.Tool;

/// <summary>
/// Listening sockets that a service manager made before this process started (sd_listen_fds(3)). A device takes the one whose path it
/// names, so that the same command line works with and without the service manager.
/// </summary>
internal sealed class PassedSockets : IDisposable
{
    private const int FirstFd = 3;
    private const int CountMax = 65536;

    private readonly Dictionary<string, OwnedFd> _byPath = [];

    private PassedSockets()
    {
    }

    /// <summary>
    /// Takes what this process was given; nothing if it was given nothing, or if what is there was meant for another process.
    /// </summary>
    /// <exception cref="IOException">What was given is no Unix socket with a path.</exception>
    internal static PassedSockets Take()
    {
        PassedSockets passed = new();
        if (IsolatedDevice.PassedSocket is { } own)
        {
            passed.Add(own);
            return passed;
        }
        if (NumberOf("LISTEN_PID") != Environment.ProcessId || NumberOf("LISTEN_FDS") is not (> 0 and <= CountMax and var count))
            return passed;
        try
        {
            for (int fd = FirstFd; fd < FirstFd + count; fd++) passed.Add(fd);
            return passed;
        }
        catch
        {
            passed.Dispose();
            throw;
        }
    }

    /// <summary>A socket that this process was started with, by its number, which the caller owns from then on.</summary>
    /// <exception cref="UsageException">There is no such descriptor.</exception>
    internal static OwnedFd TakeNumber(int number) => ProcessDescriptors.IsInherited(number) ? new OwnedFd(number)
        : throw new UsageException($"fd={number}: this process was not started with that descriptor: the program that starts this "
            + "one has to leave it open (no FD_CLOEXEC)");

    /// <summary>The socket at a path, which is the caller's from then on; null if none was passed.</summary>
    internal OwnedFd? TakeAt(string path) => _byPath.Remove(Path.GetFullPath(path), out OwnedFd? socket) ? socket : null;

    /// <summary>A socket without a device would take guests' connections and answer none of them.</summary>
    /// <exception cref="UsageException">No device took some socket.</exception>
    internal void CheckAllTaken()
    {
        if (_byPath.Keys.FirstOrDefault() is { } path)
            throw new UsageException(
                $"the service manager passed a socket at '{path}', and no device names it: give a device 'socket={path}'");
    }

    public void Dispose()
    {
        foreach (OwnedFd socket in _byPath.Values) socket.Dispose();
    }

    private void Add(int fd)
    {
        OwnedFd owned = new(fd);
        try
        {
            // Only asked for its address: the descriptor stays ours.
            using Socket socket = new(new SafeSocketHandle(fd, ownsHandle: false));
            string path = (socket.LocalEndPoint as UnixDomainSocketEndPoint)?.ToString() ?? "";
            if (path.Length == 0 || path[0] != '/')
                throw new IOException($"descriptor {fd}, which the service manager passed, is no Unix socket with a path");
            if (!_byPath.TryAdd(path, owned)) throw new IOException($"the service manager passed two sockets at '{path}'");
        }
        catch (Exception failure)
        {
            owned.Dispose();
            throw failure as IOException ?? new IOException($"descriptor {fd}, which the service manager passed, is no socket", failure);
        }
    }

    private static int? NumberOf(string variable) =>
        int.TryParse(Environment.GetEnvironmentVariable(variable), NumberStyles.None, CultureInfo.InvariantCulture, out int number)
            ? number : null;
}
