namespace Vmm.Events;

/// <summary>One timerfd among the reactor's descriptors.</summary>
internal sealed class KernelTimerWake : ITimerWake
{
    private readonly TimerFd _timer = new();

    internal KernelTimerWake(Reactor reactor, Action callDue)
    {
        // Edge-triggered and never read: setting it anew forgets the expiration.
        Subscription<TimerFd> subscription = Interest.Readable.EdgeTriggered.WithFd(_timer).WithHandler((TimerFd _) => callDue());
        subscription.BelongsToReactor = true;
        try
        {
            reactor.Add(subscription);
        }
        catch (KernelException)
        {
            _timer.Dispose();
            throw;
        }
    }

    public void Set(TimeSpan due) => _timer.Arm(due);

    public void Dispose() => _timer.Dispose();
}
