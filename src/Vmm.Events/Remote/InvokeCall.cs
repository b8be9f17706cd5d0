namespace Vmm.Events;

/// <summary>A call whose result a task gives. Of Started and GivenUp the one that is set first decides whether the work is done.</summary>
internal sealed class InvokeCall<T>(Func<IReactor, T> function) : RemoteCall
{
    private const int Started = 1;
    private const int GivenUp = 2;

    private readonly TaskCompletionSource<T> _result = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int _first;

    internal async Task<T> WaitAsync(TimeSpan? timeout, CancellationToken cancellation)
    {
        try
        {
            return await _result.Task.WaitAsync(timeout ?? Timeout.InfiniteTimeSpan, cancellation).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is TimeoutException or OperationCanceledException && !_result.Task.IsCompleted)
        {
            Interlocked.CompareExchange(ref _first, GivenUp, 0);
            throw;
        }
    }

    protected internal override void Run(IReactor reactor)
    {
        if (Interlocked.CompareExchange(ref _first, Started, 0) == GivenUp) return;
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

    protected internal override void Abandon(ReactorStoppedException reason) => _result.SetException(reason);
}
