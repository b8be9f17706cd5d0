namespace Vmm.Events;

/// <summary>
/// Work for a reactor's thread, allocated once and posted any number of times. It is its own entry in the queue: posting it while it
/// is queued changes nothing, posting it while it runs makes it run once more. It is in the queue of one reactor at a time: another one
/// refuses it until it runs.
/// </summary>
public abstract class RemoteCall
{
    /// <summary>The next entry of the queue.</summary>
    internal RemoteCall? Next;

    /// <summary>The number of the endpoint in whose queue it is; 0 while it is in none.</summary>
    internal int Queued;

    /// <summary>For messages and measurements: whose call this is.</summary>
    protected internal virtual string Name => GetType().Name;

    /// <summary>Does the work, on the reactor's thread.</summary>
    protected internal abstract void Run(IReactor reactor);

    /// <summary>
    /// Called on any thread when the reactor stopped before the work could run. A call whose result is waited for reports it here; the
    /// default does nothing.
    /// </summary>
    protected internal virtual void Abandon(ReactorStoppedException reason)
    {
    }
}
