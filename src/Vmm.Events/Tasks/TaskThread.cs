namespace Vmm.Events.Tasks;

/// <summary>
/// What a thread knows of tasks, in one object: a look at thread-local storage costs more than all else that an await does.
/// </summary>
internal sealed class TaskThread
{
    [ThreadStatic]
    private static TaskThread? _mine;

    private ReactorTasks? _tasks;
    private bool _isInside;

    /// <summary>The calling thread's.</summary>
    internal static TaskThread Mine => _mine ??= new TaskThread();

    /// <summary>The tasks whose reactor is running something on this thread.</summary>
    internal ReactorTasks? Current => _isInside ? _tasks : null;

    /// <summary>From now on a reactor's tasks run here.</summary>
    /// <returns>Whose did before, for <see cref="Leave"/>.</returns>
    internal ReactorTasks? Enter(ReactorTasks tasks)
    {
        ReactorTasks? before = Current;
        // Mostly the same as last time: a store of a reference costs more than a look.
        if (_tasks != tasks) _tasks = tasks;
        _isInside = true;
        return before;
    }

    internal void Leave(ReactorTasks? before)
    {
        if (before is null) _isInside = false; else if (_tasks != before) _tasks = before;
    }

    /// <summary>The tasks have ended: nothing of them is kept.</summary>
    internal void Forget(ReactorTasks tasks)
    {
        if (_tasks == tasks && !_isInside) _tasks = null;
    }
}
