namespace Vmm.Events.Tasks;

/// <summary>
/// The task was aborted while it waited. Thrown once, at its await, so that its finally blocks run; a task that catches it goes on.
/// </summary>
public sealed class TaskAbortedException : OperationCanceledException
{
    /// <summary>Makes the exception.</summary>
    public TaskAbortedException() : base("the task was aborted")
    {
    }
}
