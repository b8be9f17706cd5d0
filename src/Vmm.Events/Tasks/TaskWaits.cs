namespace Vmm.Events.Tasks;

/// <summary>Waits of tasks for others, with an end.</summary>
public static class TaskWaits
{
    /// <summary>Awaits an ordinary task; an abort ends the wait, not that task.</summary>
    public static HomeAwaitable<bool> ComeHome(this Task task)
    {
        ArgumentNullException.ThrowIfNull(task);
        return new HomeAwaitable<bool>(task, static _ => true);
    }

    /// <summary>Awaits an ordinary task; an abort ends the wait, not that task.</summary>
    public static HomeAwaitable<T> ComeHome<T>(this Task<T> task)
    {
        ArgumentNullException.ThrowIfNull(task);
        return new HomeAwaitable<T>(task, static done => ((Task<T>)done).GetAwaiter().GetResult());
    }

    /// <summary>Joins a task, or aborts it when the time is up.</summary>
    /// <exception cref="TimeoutException">The time was up, and the task ended by the abort.</exception>
    public static async ReactorTask WithTimeout(this ReactorTask task, TimeSpan timeout)
    {
        using Deadline? deadline = task.IsCompleted ? null : new(task.Abort, timeout);
        try
        {
            await task;
        }
        catch (TaskAbortedException) when (deadline is { HasPassed: true })
        {
            throw new TimeoutException($"the task was not done in {timeout}");
        }
    }

    /// <inheritdoc cref="WithTimeout(ReactorTask, TimeSpan)"/>
    public static async ReactorTask<T> WithTimeout<T>(this ReactorTask<T> task, TimeSpan timeout)
    {
        using Deadline? deadline = task.IsCompleted ? null : new(task.Abort, timeout);
        try
        {
            return await task;
        }
        catch (TaskAbortedException) when (deadline is { HasPassed: true })
        {
            throw new TimeoutException($"the task was not done in {timeout}");
        }
    }

    /// <summary>Aborts something when a time is up, unless it is disposed before.</summary>
    private sealed class Deadline : IDisposable
    {
        private readonly ReactorTask _timer;
        private bool _isOver;

        internal Deadline(Action abort, TimeSpan timeout) => _timer = Run(abort, timeout);

        internal bool HasPassed { get; private set; }

        public void Dispose()
        {
            _isOver = true;
            _timer.Abort();
            _timer.Detach();
        }

        private async ReactorTask Run(Action abort, TimeSpan timeout)
        {
            await ReactorTask.Delay(timeout);
            // It became due at the moment at which the task ended: there is nothing left to abort.
            if (_isOver) return;
            HasPassed = true;
            abort();
        }
    }
}
