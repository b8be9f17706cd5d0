namespace Vmm.Events.Tasks;

/// <summary>What a thread knows of tasks, in one object: a look at thread-local storage costs more than all else that an await does.</summary>
internal sealed class TaskThread
{
    [ThreadStatic]
    private static TaskThread? _mine;

    /// <summary>The calling thread's.</summary>
    internal static TaskThread Mine => _mine ??= new TaskThread();

    /// <summary>The thread's managed number.</summary>
    internal int Id { get; } = Environment.CurrentManagedThreadId;

    /// <summary>The tasks whose reactor is running something on this thread.</summary>
    internal ReactorTasks? Current { get; set; }
}
