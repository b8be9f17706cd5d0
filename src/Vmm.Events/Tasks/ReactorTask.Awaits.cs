using System.Runtime.CompilerServices;

namespace Vmm.Events.Tasks;

/// <summary>What a task can wait for by itself.</summary>
public readonly partial struct ReactorTask
{
    /// <summary>A task that has ended already. Costs nothing.</summary>
    public static ReactorTask<T> FromResult<T>(T result) => new(result);

    /// <summary>Lets the other ready tasks, and now and then the descriptors, have their turn.</summary>
    public static YieldAwaitable Yield() => default;

    /// <summary>Waits for a time on the monotonic clock. Zero or less is a yield.</summary>
    public static DelayAwaitable Delay(TimeSpan delay) => new(delay);

    /// <summary>
    /// Waits until a <see cref="Waker"/> of this task wakes it. A wake since the last park ends it at once; several wakes count once.
    /// </summary>
    public static ParkAwaitable Park() => default;

    /// <summary>Gives a waker of the calling task, for the code that is to wake it.</summary>
    public static WakerAwaitable GetWaker() => default;
}

/// <summary>The await of <see cref="ReactorTask.Yield"/>.</summary>
public readonly record struct YieldAwaitable : ICriticalNotifyCompletion, ITaskAwaiter
{
    /// <summary>Never: a yield suspends.</summary>
    public bool IsCompleted => false;

    /// <summary>For <c>await</c>.</summary>
    public YieldAwaitable GetAwaiter() => this;

    /// <summary>Ends the await.</summary>
    public void GetResult() => ReactorTasks.ThrowIfAborted();

    /// <inheritdoc/>
    public void OnCompleted(Action continuation) => Awaits.ThrowOutside();

    /// <inheritdoc/>
    public void UnsafeOnCompleted(Action continuation) => Awaits.ThrowOutside();

    void ITaskAwaiter.Suspend(TaskCell cell) => cell.Tasks.Yield(cell);
}

/// <summary>The await of <see cref="ReactorTask.Delay"/>.</summary>
public readonly record struct DelayAwaitable : ICriticalNotifyCompletion, ITaskAwaiter
{
    private readonly TimeSpan _delay;

    internal DelayAwaitable(TimeSpan delay) => _delay = delay;

    /// <summary>Never: a delay suspends.</summary>
    public bool IsCompleted => false;

    /// <summary>For <c>await</c>.</summary>
    public DelayAwaitable GetAwaiter() => this;

    /// <summary>Ends the await.</summary>
    public void GetResult() => ReactorTasks.ThrowIfAborted();

    /// <inheritdoc/>
    public void OnCompleted(Action continuation) => Awaits.ThrowOutside();

    /// <inheritdoc/>
    public void UnsafeOnCompleted(Action continuation) => Awaits.ThrowOutside();

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

/// <summary>The await of <see cref="ReactorTask.Park"/>.</summary>
public readonly record struct ParkAwaitable : ICriticalNotifyCompletion, ITaskAwaiter
{
    /// <summary>Never: which task it is that parks is known when it suspends.</summary>
    public bool IsCompleted => false;

    /// <summary>For <c>await</c>.</summary>
    public ParkAwaitable GetAwaiter() => this;

    /// <summary>Ends the await.</summary>
    public void GetResult() => ReactorTasks.ThrowIfAborted();

    /// <inheritdoc/>
    public void OnCompleted(Action continuation) => Awaits.ThrowOutside();

    /// <inheritdoc/>
    public void UnsafeOnCompleted(Action continuation) => Awaits.ThrowOutside();

    void ITaskAwaiter.Suspend(TaskCell cell) => cell.Park();
}

/// <summary>The await of <see cref="ReactorTask.GetWaker"/>.</summary>
public readonly record struct WakerAwaitable : ICriticalNotifyCompletion, ITaskAwaiter
{
    /// <summary>Never: which task it is that asks is known when it suspends.</summary>
    public bool IsCompleted => false;

    /// <summary>For <c>await</c>.</summary>
    public WakerAwaitable GetAwaiter() => this;

    /// <summary>Gives the waker, which is to be disposed.</summary>
    public Waker GetResult()
    {
        ReactorTasks.ThrowIfAborted();
        return Waker.Of(ReactorTasks.Running);
    }

    /// <inheritdoc/>
    public void OnCompleted(Action continuation) => Awaits.ThrowOutside();

    /// <inheritdoc/>
    public void UnsafeOnCompleted(Action continuation) => Awaits.ThrowOutside();

    void ITaskAwaiter.Suspend(TaskCell cell) => cell.Tasks.Yield(cell);
}

/// <summary>What awaits of tasks have in common.</summary>
internal static class Awaits
{
    internal static void ThrowOutside() =>
        throw new InvalidOperationException($"this can be awaited in a method that gives a {nameof(ReactorTask)} only");
}
