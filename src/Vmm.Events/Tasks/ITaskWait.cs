namespace Vmm.Events.Tasks;

/// <summary>What a task is suspended on, when that can be given up before it ends.</summary>
internal interface ITaskWait
{
    /// <summary>Forgets the task: it is not resumed by this wait any more.</summary>
    /// <returns>False if the wait is over: the task goes on, with its result.</returns>
    bool GiveUp(TaskCell cell);
}

/// <summary>An awaiter that knows of tasks: it gets the suspended task itself instead of a delegate.</summary>
internal interface ITaskAwaiter
{
    /// <summary>Has <see cref="ReactorTasks.Ready"/> called for the task when there is a result.</summary>
    void Suspend(TaskCell cell);
}
