using System.Collections.Concurrent;

namespace Vmm.Fuzz;

/// <summary>Calls that are to be made beside a reactor, kept until a test or a target makes them: each at a moment that it chose.</summary>
internal sealed class HeldCalls
{
    private readonly ConcurrentQueue<Action> _held = new();
    private volatile bool _areHeld = true;

    /// <summary>Calls that wait.</summary>
    internal int Count => _held.Count;

    /// <summary>Takes a call.</summary>
    /// <returns>Ends when it was made, with what it threw. What waits for it goes on inside of <see cref="TryMakeNext"/>.</returns>
    internal Task Add(Action call)
    {
        TaskCompletionSource made = new();
        _held.Enqueue(() =>
        {
            try
            {
                call();
            }
            catch (Exception exception)
            {
                made.SetException(exception);
                return;
            }
            made.SetResult();
        });
        if (!_areHeld) TryMakeNext();
        return made.Task;
    }

    /// <summary>Makes the call that waits longest, on this thread.</summary>
    /// <returns>False if there is none.</returns>
    internal bool TryMakeNext()
    {
        if (!_held.TryDequeue(out Action? call)) return false;
        call();
        return true;
    }

    /// <summary>Makes all of them, and from now on each at once.</summary>
    internal void LetGo()
    {
        _areHeld = false;
        while (TryMakeNext())
        {
        }
    }
}
