using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <content>Sockets that ended processes left behind in the file system.</content>
internal sealed unsafe partial class UnixSocket
{
    /// <summary>Listens on a path. A socket that an ended process left there is replaced; anything else is not touched.</summary>
    /// <param name="path">At most <see cref="PathBytesMax"/> bytes.</param>
    /// <param name="mode">The permissions the path has from the moment it appears.</param>
    /// <param name="backlog">How many connections may wait to be accepted.</param>
    /// <param name="group">The group of the path before anyone can connect; null for the one the file system gives it.</param>
    /// <exception cref="KernelException">
    /// A process listens there, something else is there, the directory can't be written, or the group is not for this process to give.
    /// </exception>
    internal static UnixSocket ListenAnew(string path, UnixFileMode mode, int backlog = Backlog, uint? group = null)
    {
        if (BrokerLink.ForSocket(path) is { } broker) return ListenBy(broker, path, mode, group);
        CheckDirectory(path);
        UnixSocket? socket = TryListen(path, mode, backlog, group, out Errno errno);
        if (errno == Errno.AddressInUse)
        {
            MakeWay(path);
            socket = TryListen(path, mode, backlog, group, out errno);
        }
        return socket ?? throw new KernelException($"cannot listen on '{path}'", errno, WhatToDo(path, errno));
    }

    private static string? WhatToDo(string path, Errno errno) => errno switch
    {
        Errno.NoEntry => $"its directory is not there: make it with mkdir -p '{Path.GetDirectoryName(path)}'",
        Errno.AccessDenied => "its directory is another user's: give one of your own, such as one in $XDG_RUNTIME_DIR",
        Errno.ReadOnlyFileSystem => "give a directory that can be written, such as one in /run",
        _ => null,
    };

    /// <summary>Removes what an ended process left at a path that cannot be bound.</summary>
    private static void MakeWay(string path)
    {
        if (SocketFile.At(path) is { } there)
        {
            if (TryConnect(path, isSeqPacket: false, out Errno errno) is { } other)
            {
                other.Dispose();
                errno = Errno.None;
            }
            if (errno != Errno.ConnectionRefused)
                throw new KernelException($"cannot listen on '{path}'", Errno.AddressInUse, "another process listens there");
            there.Remove();
        }
        else if (Path.Exists(path))
        {
            throw new KernelException($"cannot listen on '{path}'", Errno.Exists, "there is a file, and it is no socket");
        }
    }

    /// <summary>
    /// Where everyone may write, everyone can put a socket of theirs in the place of ours. A sticky directory, such as /tmp, lets the owner
    /// of a path only rename or remove it.
    /// </summary>
    private static void CheckDirectory(string path)
    {
        string directory = Path.GetDirectoryName(Path.GetFullPath(path)) ?? "/";
        const uint OtherWrite = 0x2, Sticky = 0x200;
        // Of a symbolic link, the directory behind it.
        Errno error = MemoryCalls.StatPath(Path.Combine(directory, "."), out FileStatus status);
        if (error != Errno.None || (status.Mode & (OtherWrite | Sticky)) != OtherWrite) return;
        throw new KernelException($"cannot listen on '{path}'", Errno.NotPermitted,
            $"everyone may write to '{directory}', and could put another socket in its place: take a directory of your own, such as one in "
            + "/run, or forbid it (chmod o-w)");
    }

    /// <summary>
    /// Removes the path this socket was bound to, if the path still names this socket. Call it before the socket is closed: until then no
    /// other file gets its inode number.
    /// </summary>
    internal void RemovePath()
    {
        if (_brokeredPath is { } path) BrokerLink.Current?.Ask(BrokerCall.Remove, path, out _);
        _boundTo?.Remove();
    }
}
