namespace Vmm.Events;

/// <summary>
/// A timer of a <see cref="TimeProvider"/>, which calls back on any thread: it signals an eventfd, so that timers come where they would
/// with the kernel's, among the descriptors of the next wait.
/// </summary>
internal sealed class ClockTimerWake : ITimerWake
{
    private readonly EventFd _due = new();
    private readonly ITimer _timer;

    internal ClockTimerWake(Reactor reactor, TimeProvider clock, Action callDue)
    {
        reactor.AddPart(Interest.Kick.WithFd(_due).WithHandler((EventFd _) => callDue()));
        _timer = clock.CreateTimer(static state => Signal((EventFd)state!), _due, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    public void Set(TimeSpan due) => _timer.Change(due, Timeout.InfiniteTimeSpan);

    public void Dispose()
    {
        _timer.Dispose();
        _due.Dispose();
    }

    private static void Signal(EventFd due)
    {
        try
        {
            due.Signal();
        }
        catch (ObjectDisposedException)
        {
            // A call-back that ran when the reactor ended.
        }
    }
}
