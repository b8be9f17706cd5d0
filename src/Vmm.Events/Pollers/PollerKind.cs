namespace Vmm.Events;

/// <summary>
/// What a reactor waits with. The semantics are the same, but for one thing: an edge whose descriptor was drained before the wait is not
/// reported by epoll, and may be by a ring. Handlers of edges cope with one event too many in any case.
/// </summary>
public enum PollerKind
{
    /// <summary>An epoll set (epoll(7)).</summary>
    Epoll,
    /// <summary>
    /// Poll requests of an io_uring (io_uring(7)): fewer instructions an event where interests are edge-triggered. Needs Linux 6.1; where
    /// the kernel is older or forbids io_uring the reactor falls back to epoll and says why.
    /// </summary>
    IoRing,
}
