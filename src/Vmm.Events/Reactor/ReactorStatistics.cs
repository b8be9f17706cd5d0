namespace Vmm.Events;

/// <summary>What a reactor did since it was made.</summary>
/// <param name="Waits">Calls into the kernel to wait.</param>
/// <param name="Events">Events handed to handlers.</param>
/// <param name="Ghosts">Events of a slot that was retired in the meantime: dropped.</param>
/// <param name="Rebuilds">Times the epoll set was made anew to heal a ghost that kept firing.</param>
/// <param name="HandlerFailures">Handlers and remote calls that threw.</param>
/// <param name="RemoteCalls">Remote calls and doorbells run.</param>
/// <param name="WakeUps">Times another thread had to wake the reactor by its eventfd.</param>
/// <param name="AllocatedBytes">Managed bytes allocated on the reactor's thread, by any code, from its first turn to its end.</param>
public readonly record struct ReactorStatistics(
    long Waits, long Events, long Ghosts, long Rebuilds, long HandlerFailures, long RemoteCalls, long WakeUps, long AllocatedBytes)
{
    /// <summary>Remote calls that found the reactor awake, or shared a wake-up with another.</summary>
    public long CoalescedWakeUps => Math.Max(0, RemoteCalls - WakeUps);

    /// <summary>Mean size of a batch.</summary>
    public double EventsPerWait => Waits == 0 ? 0 : (double)Events / Waits;
}
