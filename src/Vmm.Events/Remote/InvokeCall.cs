namespace Vmm.Events;

/// <summary>A call whose result a task gives.</summary>
internal sealed class InvokeCall<T> : WaitedCall<T>
{
    private readonly TaskCompletionSource<T> _result = new(TaskCreationOptions.RunContinuationsAsynchronously);

    internal InvokeCall(Func<IReactor, T> function) => Work = function;

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

    protected override void Finish(T? result, Exception? failure)
    {
        if (failure is null) _result.SetResult(result!);
        else _result.SetException(failure);
    }
}
