namespace Vmm.Events.Tasks;

/// <summary>
/// Awaits an ordinary task so that the wait can be aborted. (An ordinary task may be awaited bare in a <see cref="ReactorTask"/>: it comes
/// home to the reactor's thread too, but an abort has to wait for its end.) Allocates.
/// </summary>
public readonly record struct HomeAwaitable<T> : ICriticalNotifyCompletion, ITaskAwaiter
{
    private readonly Task _task;
    private readonly Func<Task, T> _result;

    internal HomeAwaitable(Task task, Func<Task, T> result)
    {
        _task = task;
        _result = result;
    }

    /// <summary>Whether the ordinary task has ended.</summary>
    public bool IsCompleted => _task.IsCompleted;

    /// <summary>For <c>await</c>.</summary>
    public HomeAwaitable<T> GetAwaiter() => this;

    /// <summary>Gives its result, or throws what it threw.</summary>
    public T GetResult()
    {
        ReactorTasks.ThrowIfAborted();
        _task.GetAwaiter().GetResult();
        return _result(_task);
    }

    void INotifyCompletion.OnCompleted(Action continuation) => _task.GetAwaiter().OnCompleted(continuation);

    void ICriticalNotifyCompletion.UnsafeOnCompleted(Action continuation) => _task.GetAwaiter().UnsafeOnCompleted(continuation);

    void ITaskAwaiter.Suspend(TaskCell cell)
    {
        Link link = new(cell);
        cell.Wait = link;
        _task.ConfigureAwait(false).GetAwaiter().UnsafeOnCompleted(link.ComeHome);
    }

    /// <summary>One wait. The ordinary task keeps it after the wait was given up, and then resumes nothing.</summary>
    private sealed class Link(TaskCell cell) : RemoteCall, ITaskWait
    {
        private TaskCell? _cell = cell;
        private readonly RemoteEndpoint _remote = cell.Tasks.Remote;

        public bool GiveUp(TaskCell ofCell)
        {
            if (_cell is null) return false;
            _cell = null;
            return true;
        }

        internal void ComeHome() => _remote.TryPost(this);

        protected internal override void Run(IReactor reactor)
        {
            if (_cell is not { } waiting) return;
            _cell = null;
            waiting.Tasks.Ready(waiting);
        }
    }
}
