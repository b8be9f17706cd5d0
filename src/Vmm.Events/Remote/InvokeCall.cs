namespace Vmm.Events;

/// <summary>
/// A function whose result a task gives. The first of two decides: a waiter that gives up before the start, or the start.
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
