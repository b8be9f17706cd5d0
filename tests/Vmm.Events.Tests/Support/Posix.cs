using System.Runtime.InteropServices;

namespace Vmm.Events.Tests.Support;

/// <summary>What tests do to descriptors behind the library's back.</summary>
internal static partial class Posix
{
    internal const short PollOut = 4;
    internal const short PollError = 8;
    internal const int NonBlocking = 0x800;
    internal const int CloseOnExec = 0x80000;

    [StructLayout(LayoutKind.Sequential)]
    internal struct PollFd
    {
        internal int Fd;
        internal short Events;
        internal short Revents;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct Limit
    {
        internal ulong Soft;
        internal ulong Hard;
    }

    [LibraryImport("libc", EntryPoint = "close")]
    internal static partial int Close(int fd);

    [LibraryImport("libc", EntryPoint = "open", StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int Open(string path, int flags, uint mode);

    [LibraryImport("libc", EntryPoint = "mkfifo", StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int MakeFifo(string path, uint mode);

    [LibraryImport("libc", EntryPoint = "dup")]
    internal static partial int Duplicate(int fd);

    [LibraryImport("libc", EntryPoint = "dup2")]
    internal static partial int DuplicateTo(int fd, int number);

    [LibraryImport("libc", EntryPoint = "pipe2")]
    internal static unsafe partial int Pipe(int* ends, int flags);

    [LibraryImport("libc", EntryPoint = "socketpair")]
    internal static unsafe partial int SocketPair(int domain, int type, int protocol, int* ends);

    [LibraryImport("libc", EntryPoint = "shutdown")]
    internal static partial int ShutDown(int fd, int how);

    [LibraryImport("libc", EntryPoint = "send")]
    internal static unsafe partial nint Send(int fd, byte* bytes, nint length, int flags);

    [LibraryImport("libc", EntryPoint = "write")]
    internal static unsafe partial nint Write(int fd, byte* bytes, nint length);

    [LibraryImport("libc", EntryPoint = "poll")]
    internal static unsafe partial int Poll(PollFd* fds, nuint count, int timeoutMs);

    [LibraryImport("libc", EntryPoint = "getrlimit")]
    internal static unsafe partial int GetLimit(int resource, Limit* limit);

    [LibraryImport("libc", EntryPoint = "setrlimit")]
    internal static unsafe partial int SetLimit(int resource, Limit* limit);

    [LibraryImport("libc", EntryPoint = "getpid")]
    internal static partial int ProcessId();

    [LibraryImport("libc", EntryPoint = "kill")]
    internal static partial int Kill(int pid, int signal);
}
