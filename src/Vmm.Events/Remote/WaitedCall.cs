namespace Vmm.Events;

/// <summary>
/// A call whose result a caller waits for, and may give up to wait for. Its state is a set of bits; of Started and GivenUp the one that is
/// set first decides whether the work is done.
/// </summary>
/// <typeparam name="T">The result; any type for an action, which has none.</typeparam>
internal abstract class WaitedCall<T> : RemoteCall
{
    private const int Started = 1;
    private const int GivenUp = 2;

    /// <summary>The first bit that a derived class may use.</summary>
    protected const int FirstFreeBit = 4;

    /// <summary>Bits that were set so far.</summary>
    protected int State;

    /// <summary>A <c>Func&lt;IReactor, T&gt;</c>, or an <c>Action&lt;IReactor&gt;</c>.</summary>
    protected Delegate? Work { get; set; }

    /// <summary>It is over: keeps its result, or what it failed with, and wakes the waiter.</summary>
    protected abstract void Finish(T? result, Exception? failure);

    /// <summary>The caller waits no longer: a call that has not started never does.</summary>
    protected void GiveUp() => Interlocked.Or(ref State, GivenUp);

    protected internal sealed override void Run(IReactor reactor)
    {
        if ((Interlocked.Or(ref State, Started) & GivenUp) != 0) return;
        T? result = default;
        try
        {
            if (Work is Func<IReactor, T> function) result = function(reactor);
            else ((Action<IReactor>)Work!)(reactor);
        }
        catch (Exception exception)
        {
            // The caller's exception, not the reactor's: it is thrown where the result is awaited.
            Finish(default, exception);
            return;
        }
        Finish(result, null);
    }

    protected internal sealed override void Abandon(ReactorStoppedException reason) => Finish(default, reason);
}
