using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.ExceptionServices;

namespace Vmm.Events.Tasks;

/// <summary>
/// An async method on a reactor's thread, and the handle to join it. It runs at once, up to its first await. Await it once, or
/// <see cref="Detach"/> it. Its storage is reused: a handle that was awaited or detached is stale, and using it throws. Everything is for
/// the reactor's thread.
/// </summary>
[AsyncMethodBuilder(typeof(ReactorTaskMethodBuilder))]
[SuppressMessage("Naming", "CA1711:Identifiers should not have incorrect suffix", Justification = "It is what the field calls a task.")]
public readonly partial struct ReactorTask : IEquatable<ReactorTask>
{
    private readonly TaskCell<NoResult>? _cell;
    private readonly uint _generation;

    internal ReactorTask(TaskCell<NoResult> cell, uint generation)
    {
        _cell = cell;
        _generation = generation;
    }

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
    public Awaiter GetAwaiter() => new(this);

    /// <summary>The end of this task for code on other threads. Takes the handle over. Allocates.</summary>
    public Task AsTask()
    {
        TaskCompletionSource source = new(TaskCreationOptions.RunContinuationsAsynchronously);
        Awaiter awaiter = GetAwaiter();
        Handles.WhenCompleted(_cell, _generation, () =>
        {
            try
            {
                awaiter.GetResult();
                source.SetResult();
            }
            catch (Exception exception)
            {
                Handles.Fail(source, exception);
            }
        });
        return source.Task;
    }

    /// <summary>Waits for a <see cref="ReactorTask"/>. For the compiler.</summary>
    public readonly struct Awaiter : ICriticalNotifyCompletion, ITaskAwaiter
    {
        private readonly ReactorTask _task;

        internal Awaiter(ReactorTask task) => _task = task;

        /// <summary>Whether there is a result.</summary>
        public bool IsCompleted => _task.IsCompleted;

        /// <summary>Takes the result, and ends the handle.</summary>
        public void GetResult() => Handles.Join(_task._cell, _task._generation);

        /// <inheritdoc/>
        public void OnCompleted(Action continuation) => Handles.WhenCompleted(_task._cell, _task._generation, continuation);

        /// <inheritdoc/>
        public void UnsafeOnCompleted(Action continuation) => OnCompleted(continuation);

        void ITaskAwaiter.Suspend(TaskCell cell) => Handles.Suspend(_task._cell!, _task._generation, cell);
    }

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
public readonly struct ReactorTask<T>
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
    public Awaiter GetAwaiter() => new(this);

    /// <inheritdoc cref="ReactorTask.AsTask"/>
    public Task<T> AsTask()
    {
        TaskCompletionSource<T> source = new(TaskCreationOptions.RunContinuationsAsynchronously);
        Awaiter awaiter = GetAwaiter();
        Handles.WhenCompleted(_cell, _generation, () =>
        {
            try
            {
                source.SetResult(awaiter.GetResult());
            }
            catch (Exception exception)
            {
                Handles.Fail(source, exception);
            }
        });
        return source.Task;
    }

    /// <summary>Waits for a <see cref="ReactorTask{T}"/>. For the compiler.</summary>
    public readonly struct Awaiter : ICriticalNotifyCompletion, ITaskAwaiter
    {
        private readonly ReactorTask<T> _task;

        internal Awaiter(ReactorTask<T> task) => _task = task;

        /// <summary>Whether there is a result.</summary>
        public bool IsCompleted => _task.IsCompleted;

        /// <summary>Takes the result, and ends the handle.</summary>
        public T GetResult()
        {
            if (_task._cell is not { } cell) return _task._result!;
            T? result = cell.Result;
            Handles.Join(cell, _task._generation);
            return result!;
        }

        /// <inheritdoc/>
        public void OnCompleted(Action continuation) => Handles.WhenCompleted(_task._cell, _task._generation, continuation);

        /// <inheritdoc/>
        public void UnsafeOnCompleted(Action continuation) => OnCompleted(continuation);

        void ITaskAwaiter.Suspend(TaskCell cell) => Handles.Suspend(_task._cell!, _task._generation, cell);
    }
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

    internal static void Fail(TaskCompletionSource source, Exception exception)
    {
        if (exception is OperationCanceledException) source.SetCanceled(); else source.SetException(exception);
    }

    internal static void Fail<T>(TaskCompletionSource<T> source, Exception exception)
    {
        if (exception is OperationCanceledException) source.SetCanceled(); else source.SetException(exception);
    }

    private static void Check(TaskCell cell, uint generation)
    {
        if (cell.Generation != generation || cell.Is(TaskMarks.Detached)) throw Stale();
    }

    private static InvalidOperationException Stale() => new("this handle is stale: its task was awaited or detached before");
}
