namespace Vmm.Events;

/// <summary>One timerfd among the reactor's descriptors.</summary>
internal sealed class KernelTimerWake : ITimerWake
{
    private readonly TimerFd _timer = new();

    // Edge-triggered and never read: setting it anew forgets the expiration.
    internal KernelTimerWake(Reactor reactor, Action callDue) =>
        reactor.AddPart(Interest.Readable.EdgeTriggered.WithFd(_timer).WithHandler((TimerFd _) => callDue()));

    public void Set(TimeSpan due) => _timer.Arm(due);

    public void Dispose() => _timer.Dispose();
}
