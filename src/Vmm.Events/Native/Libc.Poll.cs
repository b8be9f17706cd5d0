namespace Vmm.Events.Native;

/// <summary>poll(2), for the readiness of this moment.</summary>
internal static unsafe partial class Libc
{
    [LibraryImport(Name, EntryPoint = "poll", SetLastError = true)]
    internal static partial int Poll(PollFd* fds, nuint count, int timeoutMs);
}

/// <summary>struct pollfd (poll(2)). The event bits it knows are those of epoll.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct PollFd
{
    internal const short Invalid = 0x20;

    internal int Fd;
    internal short Events;
    internal short Ready;
}
