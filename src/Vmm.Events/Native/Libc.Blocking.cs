namespace Vmm.Events.Native;

/// <summary>
/// The blocking calls of the thread engine: each one what an operation of io_uring does. Addresses come from submission entries.
/// </summary>
internal static unsafe partial class Libc
{
    internal const int RWF_NOWAIT = 8;
    internal const int MSG_DONTWAIT = 0x40;
    internal const int MSG_NOSIGNAL = 0x4000;
    internal const int AT_FDCWD = -100;
    internal const short POLLIN = 1;
    internal const short POLLOUT = 4;
    internal const int SOCK_NONBLOCK = 0x800;
    internal const int KindMask = 0xF000;
    internal const int KindRegular = 0x8000;
    internal const int KindBlock = 0x6000;
    internal const int KindDirectory = 0x4000;
    internal const int SOL_SOCKET = 1;
    internal const int SO_ERROR = 4;
    internal const int EINPROGRESS = 115;

    [LibraryImport(Name, EntryPoint = "preadv2", SetLastError = true)]
    internal static partial nint ReadVectors(int fd, nint vectors, int count, long offset, int flags);

    [LibraryImport(Name, EntryPoint = "pwritev2", SetLastError = true)]
    internal static partial nint WriteVectors(int fd, nint vectors, int count, long offset, int flags);

    [LibraryImport(Name, EntryPoint = "fsync", SetLastError = true)]
    internal static partial int Fsync(int fd);

    [LibraryImport(Name, EntryPoint = "fdatasync", SetLastError = true)]
    internal static partial int FdataSync(int fd);

    [LibraryImport(Name, EntryPoint = "fallocate", SetLastError = true)]
    internal static partial int Fallocate(int fd, int mode, long offset, long length);

    [LibraryImport(Name, EntryPoint = "openat", SetLastError = true)]
    internal static partial int OpenAt(int directory, nint path, int flags, uint mode);

    [LibraryImport(Name, EntryPoint = "statx", SetLastError = true)]
    internal static partial int Statx(int directory, nint path, int flags, uint mask, nint result);

    [LibraryImport(Name, EntryPoint = "connect", SetLastError = true)]
    internal static partial int Connect(int fd, nint address, uint length);

    [LibraryImport(Name, EntryPoint = "accept4", SetLastError = true)]
    internal static partial int Accept(int fd, nint address, nint length, int flags);

    [LibraryImport(Name, EntryPoint = "recv", SetLastError = true)]
    internal static partial nint Receive(int fd, nint buffer, nuint length, int flags);

    [LibraryImport(Name, EntryPoint = "send", SetLastError = true)]
    internal static partial nint Send(int fd, nint buffer, nuint length, int flags);

    [LibraryImport(Name, EntryPoint = "recvmsg", SetLastError = true)]
    internal static partial nint ReceiveMessage(int fd, nint message, int flags);

    [LibraryImport(Name, EntryPoint = "sendmsg", SetLastError = true)]
    internal static partial nint SendMessage(int fd, nint message, int flags);

    [LibraryImport(Name, EntryPoint = "splice", SetLastError = true)]
    private static partial nint SpliceCall(int fdIn, long* offsetIn, int fdOut, long* offsetOut, nuint length, uint flags);

    [LibraryImport(Name, EntryPoint = "shutdown", SetLastError = true)]
    internal static partial int Shutdown(int fd, int how);

    [LibraryImport(Name, EntryPoint = "getsockopt", SetLastError = true)]
    private static partial int GetSocketOption(int fd, int level, int option, int* value, uint* length);

    [LibraryImport(Name, EntryPoint = "fstat", SetLastError = true)]
    private static partial int FileStatus(int fd, byte* status);

    /// <summary>splice(2); an offset of -1 is the file's own position, or that of a pipe.</summary>
    internal static nint Splice(int fdIn, long offsetIn, int fdOut, long offsetOut, uint length, uint flags)
    {
        // SAFETY: the kernel reads and writes two locals.
        return SpliceCall(fdIn, offsetIn < 0 ? null : &offsetIn, fdOut, offsetOut < 0 ? null : &offsetOut, length, flags);
    }

    /// <summary>How an asynchronous connect ended (SO_ERROR).</summary>
    internal static Errno SocketError(int fd)
    {
        int value = 0;
        uint length = sizeof(int);
        // SAFETY: the kernel writes one int and its length, both locals.
        return GetSocketOption(fd, SOL_SOCKET, SO_ERROR, &value, &length) == 0 ? (Errno)value : LastError;
    }

    /// <summary>Waits until one of the entries is ready; its result is in it.</summary>
    internal static int Poll(Span<PollFd> entries, int timeoutMs)
    {
        // SAFETY: pinned for the call, with its own length.
        fixed (PollFd* first = entries) return Poll(first, (nuint)entries.Length, timeoutMs);
    }

    /// <summary>The kind of a file (S_IFMT bits); 0 if it is not open.</summary>
    internal static int FileKind(int fd)
    {
        const int StatBytes = 144;
        const int ModeOffset = 24;
        byte* status = stackalloc byte[StatBytes];
        // SAFETY: struct stat of x86-64 is 144 bytes, st_mode a uint at 24.
        return FileStatus(fd, status) == 0 ? (int)(*(uint*)(status + ModeOffset) & KindMask) : 0;
    }
}
