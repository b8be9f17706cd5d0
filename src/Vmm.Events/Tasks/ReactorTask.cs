using System.Diagnostics.CodeAnalysis;
using System.Runtime.ExceptionServices;

namespace Vmm.Events.Tasks;

/// <summary>
/// An async method on a reactor's thread, and the handle to join it. It runs at once, up to its first await. Await it once, or
/// <see cref="Detach"/> it. Its storage is reused: a handle that was awaited or detached is stale, and using it throws. Everything is for
/// the reactor's thread.
/// </summary>
[AsyncMethodBuilder(typeof(ReactorTaskMethodBuilder))]
[SuppressMessage("Naming", "CA1711:Identifiers should not have incorrect suffix", Justification = "It is what the field calls a task.")]
public readonly struct ReactorTask : IEquatable<ReactorTask>, ICriticalNotifyCompletion, ITaskAwaiter
{
    private readonly TaskCell<NoResult>? _cell;
    private readonly uint _generation;

    internal ReactorTask(TaskCell<NoResult> cell, uint generation)
    {
        _cell = cell;
        _generation = generation;
    }

    /// <summary>A task that has ended already. Costs nothing.</summary>
    public static ReactorTask<T> FromResult<T>(T result) => new(result);

    /// <summary>Lets the other ready tasks, and now and then the descriptors, have their turn.</summary>
    public static PauseAwaitable Yield() => default;

    /// <summary>Waits for a time on the monotonic clock. Zero or less is a yield.</summary>
    public static PauseAwaitable Delay(TimeSpan delay) => new(delay);

    /// <summary>
    /// Waits until a <see cref="Waker"/> of this task wakes it. A wake since the last park ends it at once; several wakes count once.
    /// </summary>
    public static ParkAwaitable Park() => default;

    /// <summary>Gives a waker of the calling task, for the code that is to wake it.</summary>
    public static WakerAwaitable GetWaker() => default;

    /// <summary>Whether it has ended, well or not.</summary>
    /// <exception cref="InvalidOperationException">The handle is stale.</exception>
    public bool IsCompleted => Handles.IsCompleted(_cell, _generation);

    /// <summary>
    /// Its number among the tasks of its reactor, from 1, for logs: a failure that is reported bears it. 0 if it ended without ever
    /// suspending. Storage is reused, numbers are not.
    /// </summary>
    /// <exception cref="InvalidOperationException">The handle is stale.</exception>
    public long Id => Handles.IdOf(_cell, _generation);

    /// <summary>
    /// Asks it to end at its await: that throws <see cref="TaskAbortedException"/> there, once. Harmless when it has ended.
    /// </summary>
    /// <exception cref="InvalidOperationException">The handle is stale.</exception>
    public void Abort() => Handles.Abort(_cell, _generation);

    /// <summary>Lets it run by itself. A failure goes to the reactor's policy for failures.</summary>
    /// <exception cref="InvalidOperationException">The handle is stale.</exception>
    public void Detach() => Handles.Detach(_cell, _generation);

    /// <summary>For <c>await</c>.</summary>
    public ReactorTask GetAwaiter() => this;

    /// <summary>Ends the handle, and throws what the task threw. For <c>await</c>.</summary>
    /// <exception cref="InvalidOperationException">The task has not ended, or the handle is stale.</exception>
    public void GetResult() => Handles.Join(_cell, _generation);

    /// <summary>The end of this task for code on other threads. Takes the handle over. Allocates.</summary>
    public Task AsTask()
    {
        ReactorTask task = this;
        return Handles.AsTask(_cell, _generation, () =>
        {
            task.GetResult();
            return default(NoResult);
        });
    }

    void INotifyCompletion.OnCompleted(Action continuation) => Handles.WhenCompleted(_cell, _generation, continuation);

    void ICriticalNotifyCompletion.UnsafeOnCompleted(Action continuation) => Handles.WhenCompleted(_cell, _generation, continuation);

    void ITaskAwaiter.Suspend(TaskCell cell) => Handles.Suspend(_cell!, _generation, cell);

    /// <inheritdoc/>
    public bool Equals(ReactorTask other) => _cell == other._cell && _generation == other._generation;

    /// <inheritdoc/>
    public override bool Equals(object? obj) => obj is ReactorTask other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(_cell, _generation);

    /// <summary>Whether both are the same handle.</summary>
    public static bool operator ==(ReactorTask left, ReactorTask right) => left.Equals(right);

    /// <summary>Whether they are different handles.</summary>
    public static bool operator !=(ReactorTask left, ReactorTask right) => !left.Equals(right);
}

/// <summary>A <see cref="ReactorTask"/> with a result.</summary>
[AsyncMethodBuilder(typeof(ReactorTaskMethodBuilder<>))]
[SuppressMessage("Performance", "CA1815:Override equals and operator equals on value types",
    Justification = "A result need not be comparable.")]
public readonly struct ReactorTask<T> : ICriticalNotifyCompletion, ITaskAwaiter
{
    private readonly TaskCell<T>? _cell;
    private readonly T? _result;
    private readonly uint _generation;

    internal ReactorTask(T result) => _result = result;

    internal ReactorTask(TaskCell<T> cell, uint generation)
    {
        _cell = cell;
        _generation = generation;
    }

    /// <inheritdoc cref="ReactorTask.IsCompleted"/>
    public bool IsCompleted => Handles.IsCompleted(_cell, _generation);

    /// <inheritdoc cref="ReactorTask.Id"/>
    public long Id => Handles.IdOf(_cell, _generation);

    /// <inheritdoc cref="ReactorTask.Abort"/>
    public void Abort() => Handles.Abort(_cell, _generation);

    /// <inheritdoc cref="ReactorTask.Detach"/>
    public void Detach() => Handles.Detach(_cell, _generation);

    /// <summary>For <c>await</c>.</summary>
    public ReactorTask<T> GetAwaiter() => this;

    /// <summary>Takes the result, and ends the handle. For <c>await</c>.</summary>
    /// <inheritdoc cref="ReactorTask.GetResult" path="/exception"/>
    public T GetResult()
    {
        if (_cell is not { } cell) return _result!;
        T? result = cell.Result;
        Handles.Join(cell, _generation);
        return result!;
    }

    /// <inheritdoc cref="ReactorTask.AsTask"/>
    public Task<T> AsTask() => Handles.AsTask(_cell, _generation, GetResult);

    void INotifyCompletion.OnCompleted(Action continuation) => Handles.WhenCompleted(_cell, _generation, continuation);

    void ICriticalNotifyCompletion.UnsafeOnCompleted(Action continuation) => Handles.WhenCompleted(_cell, _generation, continuation);

    void ITaskAwaiter.Suspend(TaskCell cell) => Handles.Suspend(_cell!, _generation, cell);
}

/// <summary>What handles of tasks do with their cell; null stands for a task that ended at once, and well.</summary>
internal static class Handles
{
    internal static bool IsCompleted(TaskCell? cell, uint generation)
    {
        if (cell is null) return true;
        Check(cell, generation);
        return cell.Is(TaskMarks.Completed);
    }

    internal static long IdOf(TaskCell? cell, uint generation)
    {
        if (cell is null) return 0;
        Check(cell, generation);
        return cell.Id;
    }

    internal static void Abort(TaskCell? cell, uint generation)
    {
        if (cell is null) return;
        Check(cell, generation);
        if (!cell.Is(TaskMarks.Completed)) cell.Abort();
    }

    internal static void Detach(TaskCell? cell, uint generation)
    {
        if (cell is null) return;
        Check(cell, generation);
        if (cell.Is(TaskMarks.Detached)) throw Stale();
        cell.Detach();
    }

    internal static void Join(TaskCell? cell, uint generation)
    {
        if (cell is null) return;
        Check(cell, generation);
        if (!cell.Is(TaskMarks.Completed)) throw new InvalidOperationException("the task has not ended: await it");
        Exception? failure = cell.Failure;
        cell.DropHandle();
        if (failure is not null) ExceptionDispatchInfo.Throw(failure);
    }

    internal static void Suspend(TaskCell cell, uint generation, TaskCell joiner)
    {
        Check(cell, generation);
        if (cell.Joiner is not null || cell.OutsideJoiner is not null) throw new InvalidOperationException("another one awaits this task");
        cell.Joiner = joiner;
        joiner.AwaitedChild = cell;
        // An abort that the joiner got while it ran goes on to the task that it waits for now.
        if (!joiner.Is(TaskMarks.AbortWanted)) return;
        joiner.Marks &= ~TaskMarks.AbortWanted;
        cell.Abort();
    }

    internal static void WhenCompleted(TaskCell? cell, uint generation, Action continuation)
    {
        if (IsCompleted(cell, generation))
        {
            continuation();
            return;
        }
        if (cell!.Joiner is not null || cell.OutsideJoiner is not null) throw new InvalidOperationException("another one awaits this task");
        cell.OutsideJoiner = continuation;
    }

    internal static Task<T> AsTask<T>(TaskCell? cell, uint generation, Func<T> getResult)
    {
        TaskCompletionSource<T> source = new(TaskCreationOptions.RunContinuationsAsynchronously);
        WhenCompleted(cell, generation, () =>
        {
            try
            {
                source.SetResult(getResult());
            }
            catch (OperationCanceledException)
            {
                source.SetCanceled();
            }
            catch (Exception exception)
            {
                source.SetException(exception);
            }
        });
        return source.Task;
    }

    private static void Check(TaskCell cell, uint generation)
    {
        if (cell.Generation != generation || cell.Is(TaskMarks.Detached)) throw Stale();
    }

    private static InvalidOperationException Stale() => new("this handle is stale: its task was awaited or detached before");
}
