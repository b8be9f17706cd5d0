namespace Vmm.Events;

/// <summary>What a reactor waits with. The semantics are the same.</summary>
public enum PollerKind
{
    /// <summary>An epoll set (epoll(7)).</summary>
    Epoll,
    /// <summary>
    /// Poll requests of an io_uring (io_uring(7)): fewer instructions an event where interests are edge-triggered. Needs Linux 6.1; where the
    /// kernel is older or forbids io_uring the reactor falls back to epoll and says why.
    /// </summary>
    IoRing,
}
