namespace Vmm.Events;

/// <summary>
/// What a subscription can be besides: one whose work shows in memory, a queue shared with somebody, before its descriptor tells of it. A reactor with
/// adaptive polling (<see cref="ReactorOptions.PollMax"/>) asks it while it looks, so that nobody needs to signal the descriptor meanwhile; any other
/// reactor never calls these. On the reactor's thread.
/// </summary>
public interface IPolledSource
{
    /// <summary>
    /// Whether there is work, for which <see cref="Subscription.Dispatch"/> is called then. Asked again and again: a load or two, no system call. Work that the
    /// handler saw and left must not show.
    /// </summary>
    bool HasWork { get; }

    /// <summary>The reactor is about to block: from now on the descriptor has to tell.</summary>
    /// <returns>Whether there is work already, of which it will not.</returns>
    bool StopLooking();
}
