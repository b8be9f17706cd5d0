namespace Vmm.Events;

/// <summary>
/// What a handler may do to the reactor that called it. It is valid on the reactor's own thread only; other threads use a
/// <see cref="RemoteEndpoint"/>. This is the interface to mock in a test of a handler.
/// </summary>
public interface IReactor
{
    /// <summary>
    /// Watches a subscription's descriptor from the next wait on. The reactor takes the descriptor over: it stays open until the
    /// subscription is removed, and is closed then.
    /// </summary>
    /// <exception cref="InvalidOperationException">
    /// The descriptor is watched already, or is that of the running handler, which removed itself, or another source of its subscriber is
    /// in another reactor.
    /// </exception>
    /// <exception cref="ObjectDisposedException">The descriptor is closed.</exception>
    /// <exception cref="KernelException">
    /// The kernel refused: <see cref="Errno.NotPermitted"/> for a file that cannot be polled, <see cref="Errno.NoSpace"/> at the limit of
    /// watches.
    /// </exception>
    void Add(Subscription subscription);

    /// <summary>
    /// Changes the interest of a subscription; re-arms a one-shot one. An event that was reported before, in the batch that is being
    /// handled, is still dispatched.
    /// </summary>
    /// <exception cref="InvalidOperationException">The subscription is not registered here.</exception>
    /// <exception cref="KernelException">The kernel refused; the old interest holds.</exception>
    void Modify(Subscription subscription, Interest interest);

    /// <summary>
    /// Stops watching, and closes the descriptor: now, or when the running handler ends if it is its own. The handler does not run again,
    /// not even for an event that was reported before.
    /// </summary>
    /// <returns>False if the subscription is not registered here.</returns>
    bool Remove(Subscription subscription);

    /// <summary>
    /// Has the handler of a subscription called once more in the next turn, after those of the events of that turn: for a handler that
    /// stops with work left, so that others have their turn. Several requests are one call; a removal takes it back. The handler is called
    /// with a <see cref="Readiness"/> that says nothing. It costs no system call and does not allocate.
    /// </summary>
    /// <exception cref="InvalidOperationException">The subscription is not registered here, or is one-shot.</exception>
    void DispatchAgain(Subscription subscription);
}
