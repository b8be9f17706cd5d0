using System.ComponentModel;

namespace Vmm.Events;

/// <summary>Makes the poller that the options ask for.</summary>
internal static class Pollers
{
    internal static IPoller Create(ReactorOptions options, SlotTable slots)
    {
        IPoller poller = CreateReal(options, slots);
        return options.Simulation is null ? poller : new SimulationPoller(poller, options.Simulation, options.TimeProvider as ManualClock);
    }

    private static IPoller CreateReal(ReactorOptions options, SlotTable slots)
    {
        if (options.Poller == PollerKind.Epoll) return new EpollPoller(options.EventsPerWaitMax);
        Errno errno =
            IoUringPoller.TryCreate(slots, options.EventsPerWaitMax, out IoUringPoller? ring, isLookedAt: options.PollMax > TimeSpan.Zero);
        if (ring is not null) return ring;
        options.OnFallBack($"reactor '{options.Name}' waits with epoll: {WhyNoRing(errno)}");
        return new EpollPoller(options.EventsPerWaitMax);
    }

    private static string WhyNoRing(Errno errno) => errno switch
    {
        Errno.NotImplemented => "this kernel has no io_uring",
        Errno.Invalid => "this kernel's io_uring is older than Linux 6.1",
        Errno.NotPermitted => "io_uring is forbidden here, see /proc/sys/kernel/io_uring_disabled or the container's seccomp profile",
        _ => $"io_uring_setup failed: {new Win32Exception((int)errno).Message}",
    };
}
