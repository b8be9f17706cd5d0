using Vmm.Events;

namespace Vmm.Devices.Native;

/// <content>Sockets that processes which are gone left behind in the file system.</content>
internal sealed unsafe partial class UnixSocket
{
    private const int O_PATH = 0x200000;
    private const int O_CLOEXEC = 0x80000;

    /// <summary>Listens on a path; a socket that a process that is gone left there is replaced, anything else is not touched.</summary>
    /// <param name="path">At most 107 bytes.</param>
    /// <param name="mode">The permissions the path has from the moment it appears.</param>
    /// <param name="backlog">How many may wait to be accepted.</param>
    /// <exception cref="KernelException">Somebody listens there, something else is there, or the directory can't be written.</exception>
    internal static UnixSocket ListenAnew(string path, UnixFileMode mode, int backlog = Backlog)
    {
        if (Path.Exists(path))
        {
            if (!IsSocket(path)) throw new KernelException($"cannot listen on '{path}'", Errno.Exists, "there is a file, and it is no socket");
            if (TryConnect(path, isSeqPacket: false, out Errno errno) is { } other)
            {
                other.Dispose();
                errno = Errno.None;
            }
            if (errno != Errno.ConnectionRefused) throw new KernelException($"cannot listen on '{path}'", Errno.AddressInUse, "another process listens there");
            File.Delete(path);
        }
        return Listen(path, mode, backlog);
    }

    private static bool IsSocket(string path)
    {
        int fd = FileCalls.Open(path, O_PATH | O_CLOEXEC);
        if (fd < 0) return false;
        using OwnedFd opened = new(fd);
        return MemoryCalls.Stat(fd, out FileStatus status) == Errno.None && status.IsSocket;
    }
}
