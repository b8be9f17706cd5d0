using System.Diagnostics.CodeAnalysis;
using Vmm.Events.Tasks;

namespace Vmm.Events.Rings;

/// <summary>
/// An operation that was begun. Await it once, in a <see cref="ReactorTask"/> best, or <see cref="Abandon"/> it. Its buffers come back with
/// the result, also after an error or a cancellation. Aborting the task that awaits it abandons it. For the reactor's thread.
/// </summary>
[SuppressMessage("Performance", "CA1815:Override equals and operator equals on value types", Justification = "A handle is used once.")]
public readonly struct RingOperation<TResult> : ICriticalNotifyCompletion, ITaskAwaiter
{
    private readonly OperationCell<TResult> _cell;
    private readonly uint _generation;

    internal RingOperation(OperationCell<TResult> cell, uint generation)
    {
        _cell = cell;
        _generation = generation;
    }

    /// <summary>Whether the result is there.</summary>
    /// <exception cref="InvalidOperationException">The handle is stale.</exception>
    public bool IsCompleted => _cell.IsCompleted(_generation);

    /// <summary>
    /// Asks the kernel to end it early. It completes in any case, with its result or with <see cref="RingResult.IsCanceled"/>.
    /// </summary>
    /// <returns>False if it has completed.</returns>
    /// <exception cref="InvalidOperationException">The handle is stale.</exception>
    public bool Cancel() => _cell.Cancel(_generation);

    /// <summary>
    /// Cancels it and takes no result: the ring releases its buffers, and closes what it opened, when the kernel is done with it.
    /// </summary>
    /// <exception cref="InvalidOperationException">The handle is stale.</exception>
    public void Abandon() => _cell.Abandon(_generation);

    /// <summary>Hands everything that was begun over now, instead of at the end of the turn.</summary>
    public RingOperation<TResult> Eagerly()
    {
        _cell.Ring.Flush();
        return this;
    }

    /// <summary>For <c>await</c>.</summary>
    public RingOperation<TResult> GetAwaiter() => this;

    /// <summary>Takes the result, and ends the handle. For <c>await</c>.</summary>
    /// <exception cref="InvalidOperationException">It has not completed, or the handle is stale.</exception>
    public TResult GetResult() => _cell.Take(_generation);

    /// <summary>Cancels it when a token says so, and gives the result in any case.</summary>
    public async ReactorTask<TResult> WithCancellation(CancellationToken token)
    {
        CancelCall call = new(this);
        using CancellationTokenRegistration registration = token.UnsafeRegister(
            static state => ((CancelCall)state!).Post(), call);
        try
        {
            return await this;
        }
        finally
        {
            call.IsOver = true;
        }
    }

    /// <summary>Cancels it when the time is up, and gives the result in any case.</summary>
    public async ReactorTask<TResult> WithTimeout(TimeSpan timeout)
    {
        RingOperation<TResult> operation = this;
        ReactorTimer timer = _cell.Ring.Timers.Create((_, _) => operation.Cancel());
        timer.Arm(timeout);
        try
        {
            return await this;
        }
        finally
        {
            timer.Cancel();
        }
    }

    void INotifyCompletion.OnCompleted(Action continuation) => _cell.WhenCompleted(_generation, continuation);

    void ICriticalNotifyCompletion.UnsafeOnCompleted(Action continuation) => _cell.WhenCompleted(_generation, continuation);

    void ITaskAwaiter.Suspend(TaskCell cell) => _cell.Suspend(_generation, cell);

    /// <summary>A cancellation from another thread that has not arrived yet.</summary>
    private sealed class CancelCall(RingOperation<TResult> operation) : RemoteCall
    {
        private readonly RemoteEndpoint _remote = operation._cell.Ring.Remote;

        internal bool IsOver { get; set; }

        internal void Post() => _remote.TryPost(this);

        protected internal override void Run(IReactor reactor)
        {
            if (!IsOver) operation.Cancel();
        }
    }
}
