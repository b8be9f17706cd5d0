using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <content>Sockets that another process made and handed to this one.</content>
internal sealed unsafe partial class UnixSocket
{
    private const int F_GETFL = 3;
    private const int F_SETFL = 4;
    private const int O_NONBLOCK = 0x800;

    /// <summary>
    /// A socket that this process was given. Its path stays when it is closed: it belongs to the process that bound it.
    /// </summary>
    /// <param name="passed">Taken over, also when this fails.</param>
    /// <param name="listens">Whether it listens; otherwise it is connected.</param>
    /// <exception cref="ArgumentException">It is no Unix stream socket, or neither listens nor is connected.</exception>
    /// <exception cref="KernelException">The process has no descriptor left.</exception>
    internal static UnixSocket OfPassed(OwnedFd passed, out bool listens)
    {
        using (passed)
        {
            bool isStream = IsUnixStream(passed.Number);
            listens = isStream && OptionOf(passed.Number, SocketCalls.SO_ACCEPTCONN) == 1;
            if (!listens && !(isStream && IsConnected(passed.Number))) throw new ArgumentException(
                $"descriptor {passed.Number} is no Unix stream socket that listens or is connected to a front-end", nameof(passed));
            int flags = MemoryCalls.Fcntl(passed.Number, F_GETFL, 0);
            // A reactor asks for connections until there are none: a socket that waits for the next would stop it.
            if (flags < 0 || MemoryCalls.Fcntl(passed.Number, F_SETFL, flags | O_NONBLOCK) < 0)
                throw new KernelException($"cannot use descriptor {passed.Number}", LastError);
            // The duplicate is close-on-exec, which a passed descriptor is not.
            using OwnedFd duplicate = passed.Duplicate();
            UnixSocket socket = new(duplicate.Number);
            duplicate.SetHandleAsInvalid();
            return socket;
        }
    }

    /// <summary>Whether a socket has a peer, or had one (getpeername(2)).</summary>
    private static bool IsConnected(int fd)
    {
        UnixAddress address = default;
        uint length = (uint)sizeof(UnixAddress);
        // SAFETY: getpeername writes at most length bytes of a local.
        return SocketCalls.GetPeerName(fd, &address, &length) == 0;
    }
}
