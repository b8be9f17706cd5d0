using Vmm.Events;

namespace Vmm.Devices.Native;

/// <content>Listening sockets that another process made and handed to this one.</content>
internal sealed unsafe partial class UnixSocket
{
    private const int F_GETFL = 3;
    private const int F_SETFL = 4;
    private const int O_NONBLOCK = 0x800;

    /// <summary>
    /// A listening socket that this process was given. Its path stays when it is closed: it belongs to the process that bound it.
    /// </summary>
    /// <param name="listener">Taken over, also when this fails.</param>
    /// <exception cref="ArgumentException">It is no Unix stream socket, or does not listen.</exception>
    /// <exception cref="KernelException">The process has no descriptor left.</exception>
    internal static UnixSocket OfListener(OwnedFd listener)
    {
        using (listener)
        {
            if (!IsUnixStream(listener.Number) || OptionOf(listener.Number, SocketCalls.SO_ACCEPTCONN) != 1)
                throw new ArgumentException($"descriptor {listener.Number} is no Unix stream socket that listens", nameof(listener));
            int flags = MemoryCalls.Fcntl(listener.Number, F_GETFL, 0);
            // A reactor asks for connections until there are none: a socket that waits for the next would stop it.
            if (flags < 0 || MemoryCalls.Fcntl(listener.Number, F_SETFL, flags | O_NONBLOCK) < 0)
                throw new KernelException($"cannot use descriptor {listener.Number}", LastError);
            // The duplicate is close-on-exec, which a passed descriptor is not.
            using OwnedFd duplicate = listener.Duplicate();
            UnixSocket socket = new(duplicate.Number);
            duplicate.SetHandleAsInvalid();
            return socket;
        }
    }
}
