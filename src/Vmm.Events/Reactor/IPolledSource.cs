namespace Vmm.Events;

/// <summary>
/// A subscription whose work can be seen in memory, such as a queue shared with a driver, before its descriptor is signalled. A reactor
/// with adaptive polling (<see cref="ReactorOptions.PollMax"/>) asks it while it polls, so that the other side need not signal the
/// descriptor meanwhile. Any other reactor never calls these. On the reactor's thread.
/// </summary>
public interface IPolledSource
{
    /// <summary>
    /// Whether there is work, for which <see cref="Subscription.Dispatch"/> is called then. Asked again and again: a load or two, no system
    /// call. Work that the handler saw and left must not show.
    /// </summary>
    bool HasWork { get; }

    /// <summary>The reactor is about to block: from now on the descriptor has to be signalled.</summary>
    /// <returns>Whether there is work already, for which it will not be signalled.</returns>
    bool StopLooking();
}
