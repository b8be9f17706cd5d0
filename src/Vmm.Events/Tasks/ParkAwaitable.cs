namespace Vmm.Events.Tasks;

/// <summary>The await of <see cref="ReactorTask.Park"/>. It has no field: a task that waits keeps none.</summary>
public readonly record struct ParkAwaitable : ICriticalNotifyCompletion, ITaskAwaiter
{
    /// <summary>Never: which task it is that parks is known when it suspends.</summary>
    public bool IsCompleted => false;

    /// <summary>For <c>await</c>.</summary>
    public ParkAwaitable GetAwaiter() => this;

    /// <summary>Ends the await.</summary>
    public void GetResult() => ReactorTasks.ThrowIfAborted();

    void INotifyCompletion.OnCompleted(Action continuation) => ReactorTasks.ThrowNoTask();

    void ICriticalNotifyCompletion.UnsafeOnCompleted(Action continuation) => ReactorTasks.ThrowNoTask();

    void ITaskAwaiter.Suspend(TaskCell cell) => cell.Park();
}
