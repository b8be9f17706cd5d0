namespace Vmm.Events.Tasks;

/// <summary>The await of <see cref="ReactorTask.Yield"/> and <see cref="ReactorTask.Delay"/>.</summary>
public readonly record struct PauseAwaitable : ICriticalNotifyCompletion, ITaskAwaiter
{
    private readonly TimeSpan _delay;

    internal PauseAwaitable(TimeSpan delay) => _delay = delay;

    /// <summary>Never: which task it is that pauses is known when it suspends.</summary>
    public bool IsCompleted => false;

    /// <summary>For <c>await</c>.</summary>
    public PauseAwaitable GetAwaiter() => this;

    /// <summary>Ends the await.</summary>
    public void GetResult() => ReactorTasks.ThrowIfAborted();

    void INotifyCompletion.OnCompleted(Action continuation) => ReactorTasks.ThrowNoTask();

    void ICriticalNotifyCompletion.UnsafeOnCompleted(Action continuation) => ReactorTasks.ThrowNoTask();

    void ITaskAwaiter.Suspend(TaskCell cell)
    {
        if (_delay <= TimeSpan.Zero)
        {
            cell.Tasks.Yield(cell);
            return;
        }
        DelayEntry entry = cell.Delay ??= new DelayEntry(cell.Tasks.Timers, cell);
        entry.Arm(_delay);
        cell.Wait = entry;
    }
}
