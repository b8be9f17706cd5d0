namespace Vmm.Events;

/// <summary>
/// Work for a reactor's thread, allocated once and posted any number of times. It is its own entry in the queue: posting it while it
/// is queued changes nothing, posting it while it runs makes it run once more.
/// </summary>
public abstract class RemoteCall
{
    /// <summary>The next entry of the queue.</summary>
    internal RemoteCall? Next;

    /// <summary>1 while it is in a queue.</summary>
    internal int Queued;

    /// <summary>For messages and measurements: whose call this is.</summary>
    protected internal virtual string Name => GetType().Name;

    /// <summary>Does the work, on the reactor's thread.</summary>
    protected internal abstract void Run(IReactor reactor);

    /// <summary>
    /// Told, on any thread, that the reactor stopped before the work could run. A call that somebody relies on says so here; the default
    /// is silent.
    /// </summary>
    protected internal virtual void Abandon(ReactorStoppedException reason)
    {
    }
}
