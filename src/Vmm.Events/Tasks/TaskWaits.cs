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
        if (task.IsCompleted)
        {
            await task;
            return;
        }
        Deadline deadline = new(task.Abort);
        ReactorTask timer = deadline.Run(timeout);
        try
        {
            await task;
        }
        catch (TaskAbortedException) when (deadline.HasPassed)
        {
            throw new TimeoutException($"the task was not done in {timeout}");
        }
        finally
        {
            deadline.Cancel(timer);
        }
    }

    /// <inheritdoc cref="WithTimeout(ReactorTask, TimeSpan)"/>
    public static async ReactorTask<T> WithTimeout<T>(this ReactorTask<T> task, TimeSpan timeout)
    {
        if (task.IsCompleted) return await task;
        Deadline deadline = new(task.Abort);
        ReactorTask timer = deadline.Run(timeout);
        try
        {
            return await task;
        }
        catch (TaskAbortedException) when (deadline.HasPassed)
        {
            throw new TimeoutException($"the task was not done in {timeout}");
        }
        finally
        {
            deadline.Cancel(timer);
        }
    }

    private sealed class Deadline(Action abort)
    {
        private bool _isCancelled;

        internal bool HasPassed { get; private set; }

        internal async ReactorTask Run(TimeSpan timeout)
        {
            await ReactorTask.Delay(timeout);
            // It became due at the moment at which the task ended: there is nothing left to abort.
            if (_isCancelled) return;
            HasPassed = true;
            abort();
        }

        internal void Cancel(ReactorTask timer)
        {
            _isCancelled = true;
            timer.Abort();
            timer.Detach();
        }
    }
}
