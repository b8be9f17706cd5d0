namespace Vmm.Events;

/// <summary>
/// A function whose result a thread waits for. The first of two decides: a waiter that gives up before the start, or the start.
/// </summary>
internal sealed class InvokeCall<T>(Func<IReactor, T> function) : RemoteCall
{
    private const int Waiting = 0;
    private const int Started = 1;
    private const int GivenUp = 2;

    private readonly TaskCompletionSource<T> _result = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int _state = Waiting;

    protected internal override void Run(IReactor reactor)
    {
        if (Interlocked.CompareExchange(ref _state, Started, Waiting) != Waiting) return;
        try
        {
            _result.SetResult(function(reactor));
        }
        catch (Exception exception)
        {
            // The caller's exception, not the reactor's: it is thrown where the result is awaited.
            _result.SetException(exception);
        }
    }

    protected internal override void Abandon(ReactorStoppedException reason) => _result.TrySetException(reason);

    /// <summary>Blocks the calling thread itself: a wait that needs a thread of the pool to end it could starve the pool.</summary>
    internal T Wait(TimeSpan? timeout, CancellationToken cancellation)
    {
        try
        {
            if (!_result.Task.Wait(timeout ?? Timeout.InfiniteTimeSpan, cancellation))
            {
                GiveUp();
                throw new TimeoutException($"the call was not done after {timeout}");
            }
        }
        catch (OperationCanceledException)
        {
            GiveUp();
            throw;
        }
        catch (AggregateException)
        {
            // Thrown below, as it was.
        }
        return _result.Task.GetAwaiter().GetResult();
    }

    internal async Task<T> WaitAsync(TimeSpan? timeout, CancellationToken cancellation)
    {
        try
        {
            return await _result.Task.WaitAsync(timeout ?? Timeout.InfiniteTimeSpan, cancellation).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is TimeoutException or OperationCanceledException && !_result.Task.IsCompleted)
        {
            GiveUp();
            throw;
        }
    }

    private void GiveUp() => Interlocked.CompareExchange(ref _state, GivenUp, Waiting);
}
