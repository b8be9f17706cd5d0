using System.Text;

namespace Vmm.Devices;

/// <summary>
/// Makes Unix sockets that listen at a path or are connected to one, and takes those that another process made. Where the sandbox does not
/// let this process do that, its broker does.
/// </summary>
internal static unsafe class UnixEndpoint
{
    private const int Backlog = 16;

    /// <summary>Longest path of a Unix socket, in bytes of UTF-8 (unix(7)).</summary>
    internal const int PathBytesMax = UnixAddress.PathMax - 1;

    /// <summary>Listens on a path that does not exist yet.</summary>
    /// <inheritdoc cref="ListenAnew"/>
    internal static UnixSocket Listen(string path, UnixFileMode mode, int backlog = Backlog) =>
        TryListen(path, mode, backlog, group: null, out Errno errno) ?? throw new KernelException($"cannot listen on '{path}'", errno);

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

    /// <summary>Connects to a listening path. A Unix socket connects at once or not at all.</summary>
    /// <exception cref="KernelException">No socket listens there, or its backlog is full.</exception>
    internal static UnixSocket Connect(string path) => TryConnect(path, isSeqPacket: false, out Errno errno)
        ?? throw new KernelException($"cannot connect to '{path}'", errno);

    /// <summary>
    /// Connects to a listening path: to a stream, or to a socket of messages. The error is <see cref="Errno.Again"/> if its backlog is
    /// full, NoEntry or ConnectionRefused if no socket listens there.
    /// </summary>
    internal static UnixSocket? TryConnect(string path, bool isSeqPacket, out Errno errno)
    {
        if (BrokerLink.ForSocket(path) is not { } broker)
            return TryConnect(path, isSeqPacket ? SocketCalls.SOCK_SEQPACKET : SocketCalls.SOCK_STREAM, out errno);
        int fd = broker.Ask(BrokerCall.Connect, path, out errno, option: isSeqPacket ? (byte)1 : (byte)0);
        return fd < 0 ? null : new UnixSocket(fd) { IsBrokered = true };
    }

    /// <summary>As above, to a socket of any type, and not by a broker.</summary>
    internal static UnixSocket? TryConnect(string path, int type, out Errno errno)
    {
        UnixAddress address = AddressOf(path, out uint length);
        int fd = Create(type);
        errno = CallResult.Of(fd);
        if (fd < 0) return null;
        // SAFETY: connect reads length bytes of a local.
        errno = CallResult.Of(SocketCalls.Connect(fd, &address, length));
        if (errno == Errno.None) return new UnixSocket(fd);
        _ = SocketCalls.Close(fd);
        return null;
    }

    /// <summary>A socket that this process was given. Its path stays when it is closed: it belongs to the process that bound it.</summary>
    /// <param name="passed">Taken over, also when this fails.</param>
    /// <param name="listens">Whether it listens; otherwise it is connected.</param>
    /// <exception cref="ArgumentException">It is no Unix stream socket, or neither listens nor is connected.</exception>
    /// <exception cref="KernelException">The process has no descriptor left.</exception>
    internal static UnixSocket OfPassed(OwnedFd passed, out bool listens)
    {
        const int F_GETFL = 3, F_SETFL = 4, O_NONBLOCK = 0x800;
        using (passed)
        {
            int fd = passed.Number;
            bool isStream = UnixSocket.IsUnixStream(fd);
            listens = isStream && SocketCalls.GetOption(fd, SocketCalls.SO_ACCEPTCONN, out int accepts) == Errno.None && accepts == 1;
            if (!listens && !(isStream && IsConnected(fd))) throw new ArgumentException(
                $"descriptor {fd} is no Unix stream socket that listens or is connected to a front-end", nameof(passed));
            int flags = MemoryCalls.Fcntl(fd, F_GETFL, 0);
            // A reactor asks for connections until there are none: a socket that waits for the next would stop it.
            if (flags < 0 || MemoryCalls.Fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
                throw new KernelException($"cannot use descriptor {fd}", CallResult.LastError);
            // The duplicate is close-on-exec, which a passed descriptor is not.
            using OwnedFd duplicate = passed.Duplicate();
            UnixSocket socket = new(duplicate.Number);
            duplicate.SetHandleAsInvalid();
            return socket;
        }
    }

    private static UnixSocket ListenBy(BrokerLink broker, string path, UnixFileMode mode, uint? group)
    {
        int fd = broker.Ask(BrokerCall.Listen, path, out Errno errno, (uint)mode, group ?? 0, group is null ? (byte)0 : (byte)1);
        return fd >= 0 ? new UnixSocket(fd) { IsBrokered = true, BrokeredPath = path }
            : throw new KernelException($"cannot listen on '{path}'", errno,
                errno == Errno.AddressInUse ? "another process listens there" : WhatToDo(path, errno));
    }

    private static UnixSocket? TryListen(string path, UnixFileMode mode, int backlog, uint? group, out Errno errno)
    {
        UnixAddress address = AddressOf(path, out uint length);
        int fd = Create(SocketCalls.SOCK_STREAM);
        if (fd < 0) throw new KernelException("cannot make a socket", CallResult.LastError);
        UnixSocket socket = new(fd);
        // The mode of a socket that is not bound yet is what bind(2) gives the path, less what the process's umask takes.
        // SAFETY: bind reads length bytes of a local.
        bool isBound = SocketCalls.ChangeMode(fd, (uint)mode) == 0 && SocketCalls.Bind(fd, &address, length) == 0;
        errno = isBound ? Errno.None : CallResult.LastError;
        if (!isBound)
        {
            socket.Dispose();
            return null;
        }
        socket.BoundTo = SocketFile.At(path);
        // Until it listens, each connect(2) is refused: by then the path is the wanted users', and never was another's.
        Errno cannotShare = Share(path, mode, group);
        errno = cannotShare == Errno.None ? CallResult.Of(SocketCalls.Listen(fd, backlog)) : cannotShare;
        if (errno == Errno.None) return socket;
        socket.RemovePath();
        socket.Dispose();
        return cannotShare == Errno.None ? null : throw new KernelException(
            $"cannot give '{path}' {(group is null ? "its mode" : $"to group {group}")}", cannotShare,
            "only root may give it to any group, and another user to a group that the process belongs to");
    }

    /// <summary>
    /// Gives a path that this process has just bound its group, and what the umask took from its mode. A link that took its place is not
    /// followed.
    /// </summary>
    private static Errno Share(string path, UnixFileMode mode, uint? group)
    {
        const UnixFileMode OwnersOwn = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
        Errno errno = group is { } wanted ? CallResult.Of(SocketCalls.ChangeOwner(path, uint.MaxValue, wanted)) : Errno.None;
        return errno != Errno.None || (mode & ~OwnersOwn) == 0 ? errno
            : CallResult.Of(SocketCalls.ChangeModeAt(SocketCalls.AT_FDCWD, path, (uint)mode, SocketCalls.AT_SYMLINK_NOFOLLOW));
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
            TryConnect(path, isSeqPacket: false, out Errno errno)?.Dispose();
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

    /// <summary>Whether a socket has a peer, or had one (getpeername(2)).</summary>
    private static bool IsConnected(int fd)
    {
        UnixAddress address = default;
        uint length = (uint)sizeof(UnixAddress);
        // SAFETY: getpeername writes at most length bytes of a local.
        return SocketCalls.GetPeerName(fd, &address, &length) == 0;
    }

    private static int Create(int type) =>
        SocketCalls.Socket(SocketCalls.AF_UNIX, type | SocketCalls.SOCK_NONBLOCK | SocketCalls.SOCK_CLOEXEC, 0);

    private static UnixAddress AddressOf(string path, out uint length)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        UnixAddress address = new() { Family = SocketCalls.AF_UNIX };
        int bytes = Encoding.UTF8.GetByteCount(path);
        if (bytes >= UnixAddress.PathMax)
            throw new KernelException($"socket path '{path}' has {bytes} bytes", Errno.NameTooLong, $"give it at most {PathBytesMax}");
        // SAFETY: the path and its terminating zero were checked to fit.
        Encoding.UTF8.GetBytes(path, new Span<byte>(address.Path, UnixAddress.PathMax));
        length = (uint)(sizeof(ushort) + bytes + 1);
        return address;
    }
}
