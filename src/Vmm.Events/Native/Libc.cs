namespace Vmm.Events.Native;

/// <summary>
/// The only P/Invokes of Vmm.Events. Those of the hot path go through <c>syscall</c>, with the numbers of x86-64: the wrappers of libc are
/// cancellation points, which costs two locked instructions a call. Calls marked <see cref="SuppressGCTransitionAttribute"/> never block:
/// an eventfd or timerfd read and write on a non-blocking descriptor, an epoll_ctl, an epoll_wait without a timeout. Their errno is read at
/// once, nothing runs in between.
/// </summary>
internal static unsafe partial class Libc
{
    private const string Name = "libc";

    internal const int EPOLL_CLOEXEC = 0x80000;
    internal const int EPOLL_CTL_ADD = 1;
    internal const int EPOLL_CTL_DEL = 2;
    internal const int EPOLL_CTL_MOD = 3;
    internal const int EFD_CLOEXEC = 0x80000;
    internal const int EFD_NONBLOCK = 0x800;
    internal const int EFD_SEMAPHORE = 1;
    internal const int TFD_CLOEXEC = 0x80000;
    internal const int TFD_NONBLOCK = 0x800;
    internal const int CLOCK_MONOTONIC = 1;
    internal const int F_DUPFD_CLOEXEC = 1030;
    internal const int F_GETFL = 3;
    internal const int F_SETFL = 4;
    internal const int O_NONBLOCK = 0x800;

    private const long NR_read = 0;
    private const long NR_write = 1;
    private const long NR_epoll_wait = 232;

    [LibraryImport(Name, EntryPoint = "epoll_create1", SetLastError = true)]
    internal static partial int EpollCreate(int flags);

    [LibraryImport(Name, EntryPoint = "epoll_ctl")]
    [SuppressGCTransition]
    private static partial int EpollCtlNow(int epfd, int op, int fd, ReadyEvent* interest);

    [LibraryImport(Name, EntryPoint = "syscall")]
    private static partial long EpollWaitSyscall(long number, int epfd, ReadyEvent* events, long eventsMax, long timeoutMs);

    [LibraryImport(Name, EntryPoint = "syscall")]
    [SuppressGCTransition]
    private static partial long EpollLookSyscall(long number, int epfd, ReadyEvent* events, long eventsMax, long timeoutMs);

    [LibraryImport(Name, EntryPoint = "epoll_wait", SetLastError = true)]
    private static partial int EpollWaitKeepingError(int epfd, ReadyEvent* events, int eventsMax, int timeoutMs);

    [LibraryImport(Name, EntryPoint = "eventfd", SetLastError = true)]
    internal static partial int CreateEventFd(uint initial, int flags);

    [LibraryImport(Name, EntryPoint = "timerfd_create", SetLastError = true)]
    internal static partial int CreateTimerFd(int clock, int flags);

    [LibraryImport(Name, EntryPoint = "timerfd_settime", SetLastError = true)]
    internal static partial int SetTimerFd(int fd, int flags, TimerSpec* value, TimerSpec* old);

    [LibraryImport(Name, EntryPoint = "close", SetLastError = true)]
    internal static partial int Close(int fd);

    [LibraryImport(Name, EntryPoint = "fcntl", SetLastError = true)]
    internal static partial int Fcntl(int fd, int command, int argument);

    [LibraryImport(Name, EntryPoint = "syscall")]
    [SuppressGCTransition]
    private static partial long TransferNow(long number, long fd, ulong* buffer, long count);

    /// <summary>epoll_ctl(2).</summary>
    internal static Errno EpollCtl(int epfd, int op, int fd, ReadyEvent* interest) =>
        // SAFETY: the kernel reads one epoll_event of the caller, or none for a removal.
        EpollCtlNow(epfd, op, fd, interest) == 0 ? Errno.None : (Errno)Marshal.GetLastSystemError();

    /// <summary>
    /// epoll_wait(2). To keep errno costs a tenth of the call, so a failed one is asked again without waiting, for its reason.
    /// </summary>
    /// <returns>The events, 0 when a signal came first, or -1 and <see cref="LastError"/>.</returns>
    internal static int EpollWait(int epfd, ReadyEvent* events, int eventsMax, int timeoutMs)
    {
        // SAFETY: the caller's array has room for eventsMax entries.
        int count = (int)EpollWaitSyscall(NR_epoll_wait, epfd, events, eventsMax, timeoutMs);
        return count >= 0 ? count : EpollWaitKeepingError(epfd, events, eventsMax, timeoutMs: 0);
    }

    /// <summary>epoll_wait(2) for a few events that are ready now. A collection waits for it, so it must be few.</summary>
    /// <returns>The events; none or a negative number if there are none.</returns>
    internal static int EpollLook(int epfd, ReadyEvent* events, int eventsMax) =>
        // SAFETY: the caller's array has room for eventsMax entries. Without a timeout it does not block.
        (int)EpollLookSyscall(NR_epoll_wait, epfd, events, eventsMax, timeoutMs: 0);

    /// <summary>Reads the counter of a non-blocking eventfd or timerfd.</summary>
    internal static Errno ReadCounter(int fd, out ulong value)
    {
        ulong read = 0;
        // SAFETY: the kernel writes exactly 8 bytes into a local of 8 bytes, or nothing.
        long length = TransferNow(NR_read, fd, &read, sizeof(ulong));
        value = read;
        return length == sizeof(ulong) ? Errno.None : (Errno)Marshal.GetLastSystemError();
    }

    /// <summary>Adds to the counter of a non-blocking eventfd.</summary>
    internal static Errno WriteCounter(int fd, ulong value)
    {
        // SAFETY: the kernel reads exactly 8 bytes from a local of 8 bytes.
        long length = TransferNow(NR_write, fd, &value, sizeof(ulong));
        return length == sizeof(ulong) ? Errno.None : (Errno)Marshal.GetLastSystemError();
    }

    /// <summary>Arms (due above zero) or disarms (due zero) a timerfd, relative to now.</summary>
    internal static Errno SetTimer(int fd, TimeSpan due, TimeSpan period)
    {
        TimerSpec spec = new()
        {
            ValueSeconds = due.Ticks / TimeSpan.TicksPerSecond,
            ValueNanoseconds = due.Ticks % TimeSpan.TicksPerSecond * TimeSpan.NanosecondsPerTick,
            IntervalSeconds = period.Ticks / TimeSpan.TicksPerSecond,
            IntervalNanoseconds = period.Ticks % TimeSpan.TicksPerSecond * TimeSpan.NanosecondsPerTick,
        };
        // SAFETY: the kernel reads one itimerspec from a local; no old value is asked for.
        return SetTimerFd(fd, 0, &spec, null) == 0 ? Errno.None : LastError;
    }

    /// <summary>errno of the last call that sets it.</summary>
    internal static Errno LastError => (Errno)Marshal.GetLastPInvokeError();
}

/// <summary>struct itimerspec (timerfd_settime(2)).</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct TimerSpec
{
    internal long IntervalSeconds;
    internal long IntervalNanoseconds;
    internal long ValueSeconds;
    internal long ValueNanoseconds;
}
