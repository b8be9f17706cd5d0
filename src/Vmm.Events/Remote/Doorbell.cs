namespace Vmm.Events;

/// <summary>
/// Wakes one handler on a reactor's thread, from any thread, without allocating. Any number of rings before the handler starts are one
/// call of it; a ring while it runs is one more. While the reactor is awake a ring costs no system call. A ring that the reactor has not
/// come to when it stops is dropped: the handler would have looked at what its owner keeps, and the next ring is refused.
/// </summary>
public sealed class Doorbell : RemoteCall
{
    private readonly RemoteEndpoint _endpoint;
    private readonly Action<IReactor> _handler;

    internal Doorbell(RemoteEndpoint endpoint, string name, Action<IReactor> handler)
    {
        _endpoint = endpoint;
        Name = name;
        _handler = handler;
    }

    /// <inheritdoc/>
    protected internal override string Name { get; }

    /// <summary>Asks for one call of the handler after now.</summary>
    /// <exception cref="ReactorStoppedException">The reactor stopped: the handler will not run.</exception>
    public void Ring() => _endpoint.Post(this);

    /// <summary>Asks for one call of the handler after now.</summary>
    /// <returns>False if the reactor stopped: the handler will not run.</returns>
    public bool TryRing() => _endpoint.TryPost(this);

    /// <inheritdoc/>
    protected internal override void Run(IReactor reactor) => _handler(reactor);
}
