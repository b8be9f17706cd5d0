using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vmm.Events.Native;
using Vmm.Events.Tests.Support;
using Vmm.Tests.Native;

namespace Vmm.Events.Tests;

[Collection(Alone.Name)]
public sealed class EpollAbiTests
{
    [Fact]
    public void Structs_and_constants_are_those_of_the_headers()
    {
        Dictionary<string, long> ours = new()
        {
            ["sizeof(struct epoll_event)"] = Unsafe.SizeOf<ReadyEvent>(),
            ["offsetof(struct epoll_event, events)"] = Offset<ReadyEvent>(nameof(ReadyEvent.Events)),
            ["offsetof(struct epoll_event, data)"] = Offset<ReadyEvent>(nameof(ReadyEvent.Data)),
            ["sizeof(struct itimerspec)"] = Unsafe.SizeOf<TimerSpec>(),
            ["offsetof(struct itimerspec, it_interval.tv_sec)"] = Offset<TimerSpec>(nameof(TimerSpec.IntervalSeconds)),
            ["offsetof(struct itimerspec, it_interval.tv_nsec)"] = Offset<TimerSpec>(nameof(TimerSpec.IntervalNanoseconds)),
            ["offsetof(struct itimerspec, it_value.tv_sec)"] = Offset<TimerSpec>(nameof(TimerSpec.ValueSeconds)),
            ["offsetof(struct itimerspec, it_value.tv_nsec)"] = Offset<TimerSpec>(nameof(TimerSpec.ValueNanoseconds)),
            ["EPOLL_CLOEXEC"] = Libc.EPOLL_CLOEXEC,
            ["EPOLL_CTL_ADD"] = Libc.EPOLL_CTL_ADD,
            ["EPOLL_CTL_DEL"] = Libc.EPOLL_CTL_DEL,
            ["EPOLL_CTL_MOD"] = Libc.EPOLL_CTL_MOD,
            ["EFD_CLOEXEC"] = Libc.EFD_CLOEXEC,
            ["EFD_NONBLOCK"] = Libc.EFD_NONBLOCK,
            ["EFD_SEMAPHORE"] = Libc.EFD_SEMAPHORE,
            ["TFD_CLOEXEC"] = Libc.TFD_CLOEXEC,
            ["TFD_NONBLOCK"] = Libc.TFD_NONBLOCK,
            ["CLOCK_MONOTONIC"] = Libc.CLOCK_MONOTONIC,
            ["F_DUPFD_CLOEXEC"] = Libc.F_DUPFD_CLOEXEC,
            ["F_GETFL"] = Libc.F_GETFL,
            ["F_SETFL"] = Libc.F_SETFL,
            ["O_NONBLOCK"] = Libc.O_NONBLOCK,
            ["SYS_pidfd_open"] = Libc.SYS_pidfd_open,
            ["CPU_SETSIZE"] = Libc.CpusMax,
            ["(unsigned)EPOLLIN"] = Interest.Readable.Bits,
            ["(unsigned)EPOLLOUT"] = Interest.Writable.Bits,
            ["(unsigned)EPOLLRDHUP"] = Interest.ReadHangUp.Bits,
            ["(unsigned)EPOLLPRI"] = Interest.Priority.Bits,
            ["(unsigned)EPOLLET"] = Interest.None.EdgeTriggered.Bits,
            ["(unsigned)EPOLLONESHOT"] = Interest.None.OneShot.Bits,
            ["(unsigned)EPOLLEXCLUSIVE"] = Interest.None.Exclusive.Bits,
            ["(unsigned)EPOLLWAKEUP"] = Interest.None.WakeUp.Bits,
            ["(unsigned)EPOLLERR"] = Readiness.Of(error: true).Bits,
            ["(unsigned)EPOLLHUP"] = Readiness.Of(hangUp: true).Bits,
            ["(unsigned)(EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP)"] =
                Readiness.Of(readable: true, writable: true, priority: true, readHangUp: true).Bits,
        };

        IReadOnlyDictionary<string, long> theirs = KernelHeaders.Evaluate(
            ["sys/epoll.h", "sys/eventfd.h", "sys/timerfd.h", "fcntl.h", "time.h", "sched.h", "sys/syscall.h"], [.. ours.Keys]);

        Assert.Equal(theirs.OrderBy(pair => pair.Key), ours.OrderBy(pair => pair.Key));
    }

    [Fact]
    public void Error_numbers_are_those_of_the_headers()
    {
        Dictionary<string, long> ours = new()
        {
            ["EPERM"] = (long)Errno.NotPermitted,
            ["ENOENT"] = (long)Errno.NoEntry,
            ["ESRCH"] = (long)Errno.NoProcess,
            ["EINTR"] = (long)Errno.Interrupted,
            ["EBADF"] = (long)Errno.BadDescriptor,
            ["EAGAIN"] = (long)Errno.Again,
            ["EEXIST"] = (long)Errno.Exists,
            ["EINVAL"] = (long)Errno.Invalid,
            ["ENFILE"] = (long)Errno.SystemFileLimit,
            ["EMFILE"] = (long)Errno.ProcessFileLimit,
            ["ENOSPC"] = (long)Errno.NoSpace,
            ["EPIPE"] = (long)Errno.BrokenPipe,
            ["ENOSYS"] = (long)Errno.NotImplemented,
            ["EOPNOTSUPP"] = (long)Errno.NotSupported,
            ["ECANCELED"] = (long)Errno.Canceled,
        };

        IReadOnlyDictionary<string, long> theirs = KernelHeaders.Evaluate(["errno.h"], [.. ours.Keys]);

        Assert.Equal(theirs.OrderBy(pair => pair.Key), ours.OrderBy(pair => pair.Key));
    }

    private static long Offset<T>(string field) => Marshal.OffsetOf<T>(field);
}
