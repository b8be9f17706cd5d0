using System.Runtime.InteropServices;

namespace Vmm.Events.Native;

/// <summary>
/// The only P/Invokes of Vmm.Events. Calls marked <see cref="SuppressGCTransitionAttribute"/> never block: an eventfd or timerfd read
/// and write on a non-blocking descriptor, an epoll_ctl. Their errno is read at once, nothing runs in between.
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

    [LibraryImport(Name, EntryPoint = "epoll_create1", SetLastError = true)]
    internal static partial int EpollCreate(int flags);

    [LibraryImport(Name, EntryPoint = "epoll_ctl", SetLastError = true)]
    internal static partial int EpollCtl(int epfd, int op, int fd, ReadyEvent* interest);

    [LibraryImport(Name, EntryPoint = "epoll_wait", SetLastError = true)]
    internal static partial int EpollWait(int epfd, ReadyEvent* events, int eventsMax, int timeoutMs);

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

    [LibraryImport(Name, EntryPoint = "read")]
    [SuppressGCTransition]
    private static partial nint ReadNow(int fd, ulong* buffer, nuint count);

    [LibraryImport(Name, EntryPoint = "write")]
    [SuppressGCTransition]
    private static partial nint WriteNow(int fd, ulong* buffer, nuint count);

    /// <summary>Reads the counter of a non-blocking eventfd or timerfd.</summary>
    internal static Errno ReadCounter(int fd, out ulong value)
    {
        ulong read = 0;
        // SAFETY: the kernel writes exactly 8 bytes into a local of 8 bytes, or nothing.
        nint length = ReadNow(fd, &read, sizeof(ulong));
        value = read;
        return length == sizeof(ulong) ? Errno.None : (Errno)Marshal.GetLastSystemError();
    }

    /// <summary>Adds to the counter of a non-blocking eventfd.</summary>
    internal static Errno WriteCounter(int fd, ulong value)
    {
        // SAFETY: the kernel reads exactly 8 bytes from a local of 8 bytes.
        nint length = WriteNow(fd, &value, sizeof(ulong));
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
