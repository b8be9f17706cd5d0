namespace Vmm.Events.Tasks;

/// <summary>
/// A signal for one task to wait for. A signal while no task waits ends the next wait at once; several count once.
/// For the reactor's thread.
/// </summary>
public class TaskSignal : ITaskWait
{
    private TaskCell? _waiter;
    private bool _isSet;

    /// <summary>It happened.</summary>
    public void Set()
    {
        if (_waiter is not { } waiter)
        {
            _isSet = true;
            return;
        }
        _waiter = null;
        waiter.Tasks.Ready(waiter);
    }

    /// <summary>Waits until it happens.</summary>
    /// <exception cref="InvalidOperationException">Another task waits for it.</exception>
    public Awaiter GetAwaiter() => new(this);

    bool ITaskWait.GiveUp(TaskCell cell)
    {
        if (_waiter != cell) return false;
        _waiter = null;
        return true;
    }

    private bool TryTake()
    {
        bool was = _isSet;
        _isSet = false;
        return was;
    }

    private void Suspend(TaskCell cell)
    {
        if (_waiter is not null) throw new InvalidOperationException("another task waits for this signal");
        _waiter = cell;
        cell.Wait = this;
    }

    /// <summary>The await of a <see cref="TaskSignal"/>.</summary>
    public readonly record struct Awaiter : ICriticalNotifyCompletion, ITaskAwaiter
    {
        private readonly TaskSignal _signal;

        internal Awaiter(TaskSignal signal) => _signal = signal;

        /// <summary>Whether it happened since the last wait; if so, that is taken.</summary>
        public bool IsCompleted => _signal.TryTake();

        /// <summary>Ends the await.</summary>
        public void GetResult() => ReactorTasks.ThrowIfAborted();

        void INotifyCompletion.OnCompleted(Action continuation) => ReactorTasks.ThrowNoTask();

        void ICriticalNotifyCompletion.UnsafeOnCompleted(Action continuation) => ReactorTasks.ThrowNoTask();

        void ITaskAwaiter.Suspend(TaskCell cell) => _signal.Suspend(cell);
    }
}

/// <summary>
/// A doorbell for a task: any thread rings it, one task waits for it. No allocation, and no system call while the reactor is awake. The
/// task that waits is aborted when the reactor stops.
/// </summary>
public sealed class TaskDoorbell : TaskSignal
{
    private readonly Doorbell _bell;

    /// <summary>Makes a doorbell for a reactor's tasks.</summary>
    public TaskDoorbell(ReactorTasks tasks)
    {
        ArgumentNullException.ThrowIfNull(tasks);
        _bell = tasks.Remote.CreateDoorbell(_ => Set());
    }

    /// <summary>Ends the wait, or the next one. Thread-safe.</summary>
    /// <returns>False if the reactor has stopped.</returns>
    public bool Ring() => _bell.TryRing();
}

/// <summary>An eventfd for a task: the reactor watches it, one task waits for it. The counter is not read: it is a doorbell.</summary>
public sealed class TaskEventFd : TaskSignal, IDisposable
{
    private readonly IReactor _reactor;
    private readonly Subscription<EventFd> _subscription;

    /// <summary>Has the reactor watch an eventfd, and take it over.</summary>
    /// <inheritdoc cref="IReactor.Add" path="/exception"/>
    public TaskEventFd(ReactorTasks tasks, EventFd fd)
    {
        ArgumentNullException.ThrowIfNull(tasks);
        _reactor = tasks.Reactor;
        _subscription = Interest.Kick.WithFd(fd).WithHandler(_ => Set()).RegisterInto(_reactor);
    }

    /// <summary>The descriptor.</summary>
    public EventFd Fd => _subscription.Fd;

    /// <summary>Stops watching, and closes the descriptor.</summary>
    public void Dispose() => _reactor.Remove(_subscription);
}
