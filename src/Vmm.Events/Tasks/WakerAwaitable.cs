namespace Vmm.Events.Tasks;

/// <summary>The await of <see cref="ReactorTask.GetWaker"/>.</summary>
public readonly record struct WakerAwaitable : ICriticalNotifyCompletion, ITaskAwaiter
{
    /// <summary>Never: which task it is that asks is known when it suspends.</summary>
    public bool IsCompleted => false;

    /// <summary>For <c>await</c>.</summary>
    public WakerAwaitable GetAwaiter() => this;

    /// <summary>Gives the waker, which is to be disposed.</summary>
    public Waker GetResult()
    {
        ReactorTasks.ThrowIfAborted();
        return Waker.Of(ReactorTasks.Running);
    }

    void INotifyCompletion.OnCompleted(Action continuation) => ReactorTasks.ThrowNoTask();

    void ICriticalNotifyCompletion.UnsafeOnCompleted(Action continuation) => ReactorTasks.ThrowNoTask();

    void ITaskAwaiter.Suspend(TaskCell cell) => cell.Tasks.Yield(cell);
}
