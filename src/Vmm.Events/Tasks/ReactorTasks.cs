using System.Diagnostics.CodeAnalysis;

namespace Vmm.Events.Tasks;

/// <summary>What the tasks of a reactor did so far.</summary>
/// <param name="Resumes">Times a task went on after an await.</param>
/// <param name="Live">Async methods that are suspended or running now.</param>
/// <param name="SlabCells">Storage cells made.</param>
/// <param name="SlabGrowths">Times cells had to be made because the slab of a method was empty.</param>
/// <param name="Dropped">Tasks that could not be ended with the reactor because they waited for other threads.</param>
internal readonly record struct ReactorTaskStatistics(long Resumes, int Live, long SlabCells, long SlabGrowths, long Dropped);

/// <summary>
/// The tasks of one reactor: async methods that run on its thread, at the end of its turns. Their storage is kept and reused. Every member
/// is for the reactor's thread.
/// </summary>
[SuppressMessage("Design", "CA1001:Types that own disposable fields should be disposable", Justification = "The reactor disposes it.")]
public sealed class ReactorTasks
{
    /// <summary>Most cells that can be reserved for a method.</summary>
    public const int ReserveMax = 1 << 20;

    private const int UsualReserve = 16;

    /// <summary>Most failures kept for a join that may still come; the oldest goes to the reactor's policy.</summary>
    private const int UnjoinedMax = 1024;

    /// <summary>Rounds that aborted tasks get for their clean-up when the reactor is disposed.</summary>
    private const int LastRoundsMax = 10_000;

    private static int _slabKeys;
    private static int _abortsDue;

    private readonly Reactor _reactor;
    private readonly Turn _turn;
    private readonly List<TaskCell> _unjoined = [];
    private readonly List<TaskCell> _cells = [];
    private readonly ReadyQueue _ready = new();
    private object?[] _slabs = new object?[16];
    private TaskCell? _next;
    private TaskCell? _running;
    private bool _isResuming;
    private TaskThread? _runnersThread;
    private long _resumes;
    private long _slabGrowths;
    private long _dropped;
    private bool _disposed;

    private ReactorTasks(Reactor reactor, int reserve)
    {
        _reactor = reactor;
        Reserve = reserve;
        _turn = new Turn(this);
        reactor.Work.Attach(_turn);
    }

    /// <summary>The tasks of a reactor, which are made when they are first asked for.</summary>
    /// <param name="reactor">Whose tasks.</param>
    /// <param name="reserve">
    /// Storage cells that are made for an async method when it first suspends, 1 to <see cref="ReserveMax"/>; when all are in use, as many
    /// again. With as many as there are ever at a time, steady state begins with the first one: no later task allocates. Null for 16, or
    /// for what the first who asked wanted.
    /// </param>
    /// <exception cref="ArgumentException">The reactor is a mock with no <see cref="ReactorStandIn"/> behind it.</exception>
    /// <exception cref="InvalidOperationException">The tasks are there already, with another reserve.</exception>
    public static ReactorTasks Of(IReactor reactor, int? reserve = null)
    {
        Reactor real = ReactorStandIn.RealOf(reactor, "tasks need");
        int wanted = reserve ?? UsualReserve;
        ArgumentOutOfRangeException.ThrowIfLessThan(wanted, 1, nameof(reserve));
        ArgumentOutOfRangeException.ThrowIfGreaterThan(wanted, ReserveMax, nameof(reserve));
        if (real.Work.Find<Turn>() is not { } turn) return new ReactorTasks(real, wanted);
        if (reserve is not null && wanted != turn.Tasks.Reserve)
            throw new InvalidOperationException(
                $"reactor '{real.Name}' has tasks with another reserve: give it to the first who asks for its tasks");
        return turn.Tasks;
    }

    /// <summary>The number of the task that runs on this thread, for logs; 0 if none does. See <see cref="ReactorTask.Id"/>.</summary>
    public static long CurrentId => TaskThread.Mine.Current?.RunningHere?.Id ?? 0;

    /// <summary>The reactor they run on.</summary>
    public IReactor Reactor => _reactor.Face;

    /// <summary>How other threads reach it.</summary>
    public RemoteEndpoint Remote => _reactor.Remote;

    /// <summary>What the tasks did so far.</summary>
    internal ReactorTaskStatistics Statistics => new(_resumes, LiveCount, _cells.Count, _slabGrowths, _dropped);

    /// <summary>Cells that are made at once.</summary>
    internal int Reserve { get; }

    /// <summary>Async methods that have begun and not ended.</summary>
    internal int LiveCount { get; set; }

    /// <summary>Lives of cells so far: the number of the last one.</summary>
    internal long LastId { get; set; }

    /// <summary>Starts a task: it runs at once, up to its first await.</summary>
    /// <exception cref="InvalidOperationException">This is not the reactor's thread.</exception>
    public ReactorTask Spawn(Func<ReactorTask> body)
    {
        ArgumentNullException.ThrowIfNull(body);
        using Visit visit = Enter();
        return body();
    }

    /// <summary>Starts a task without a closure: a static lambda and what it needs.</summary>
    /// <inheritdoc cref="Spawn(Func{ReactorTask})" path="/exception"/>
    public ReactorTask Spawn<TState>(Func<TState, ReactorTask> body, TState state)
    {
        ArgumentNullException.ThrowIfNull(body);
        using Visit visit = Enter();
        return body(state);
    }

    /// <inheritdoc cref="Spawn(Func{ReactorTask})"/>
    public ReactorTask<T> Spawn<T>(Func<ReactorTask<T>> body)
    {
        ArgumentNullException.ThrowIfNull(body);
        using Visit visit = Enter();
        return body();
    }

    /// <inheritdoc cref="Spawn{TState}(Func{TState, ReactorTask}, TState)"/>
    public ReactorTask<T> Spawn<TState, T>(Func<TState, ReactorTask<T>> body, TState state)
    {
        ArgumentNullException.ThrowIfNull(body);
        using Visit visit = Enter();
        return body(state);
    }

    /// <summary>The tasks whose reactor is running something on this thread.</summary>
    internal static ReactorTasks Current => TaskThread.Mine.Current ?? throw new InvalidOperationException(
        $"no reactor runs tasks on this thread: start the method with {nameof(ReactorTasks)}.{nameof(Spawn)}");

    /// <summary>The task that is being resumed on this thread.</summary>
    internal static TaskCell Running => Current.RunningHere ?? throw new InvalidOperationException("no task is running");

    /// <summary>For an await of ours outside of any task.</summary>
    [DoesNotReturn]
    internal static void ThrowNoTask() =>
        throw new InvalidOperationException($"this can be awaited in a method that gives a {nameof(ReactorTask)} only");

    /// <summary>For the result of an await of ours: throws if the wait was given up. Mostly no wait of any thread was.</summary>
    internal static void ThrowIfAborted()
    {
        if (Volatile.Read(ref _abortsDue) != 0) TaskThread.Mine.Current?.RunningHere?.ThrowIfAborted();
    }

    /// <summary>Counts the waits that were given up and whose await has not thrown yet.</summary>
    internal static void CountAborts(int change) => Interlocked.Add(ref _abortsDue, change);

    private TaskCell? RunningHere => _isResuming ? _running : null;

    internal ReactorTimers Timers => _reactor.Timers;

    /// <summary>Whether the reactor is gone.</summary>
    internal bool IsDisposed => _disposed;

    internal static int NextSlabKey() => Interlocked.Increment(ref _slabKeys) - 1;

    /// <summary>The place for the slab of one async method.</summary>
    internal ref object? Slab(int key)
    {
        if (key >= _slabs.Length) Array.Resize(ref _slabs, Math.Max(key + 1, _slabs.Length * 2));
        return ref _slabs[key];
    }

    internal void CountSlabGrowth() => _slabGrowths++;

    /// <summary>One more cell, which may be queued from now on.</summary>
    internal void Track(TaskCell cell)
    {
        cell.Key = _cells.Count;
        _cells.Add(cell);
        _ready.Reserve(_cells.Count);
    }

    /// <summary>A cell that will not be used again.</summary>
    internal void Untrack(TaskCell cell)
    {
        TaskCell last = _cells[^1];
        _cells[cell.Key] = last;
        last.Key = cell.Key;
        _cells.RemoveAt(_cells.Count - 1);
    }

    /// <summary>Queues a task to go on; one that is queued stays where it is.</summary>
    internal void Ready(TaskCell cell)
    {
        if (cell.Is(TaskMarks.Queued | TaskMarks.Completed | TaskMarks.Free)) return;
        cell.Wait = null;
        Enqueue(cell);
    }

    /// <summary>A task whose child ended goes on at once, when the child is off the stack.</summary>
    internal void ReadyNext(TaskCell cell)
    {
        if (_next is not null || !_isResuming)
        {
            Ready(cell);
            return;
        }
        cell.Wait = null;
        cell.Marks |= TaskMarks.Queued;
        _next = cell;
    }

    /// <summary>Queues a task behind all others, with nothing to wait for.</summary>
    internal void Yield(TaskCell cell)
    {
        cell.Marks |= TaskMarks.Yielded;
        Enqueue(cell);
    }

    internal void AddUnjoined(TaskCell cell)
    {
        if (_unjoined.Count == UnjoinedMax)
        {
            TaskCell oldest = _unjoined[0];
            ForgetUnjoined(oldest);
            ReportFailure(oldest, oldest.Failure!);
        }
        cell.Marks |= TaskMarks.Unjoined;
        _unjoined.Add(cell);
    }

    internal void ForgetUnjoined(TaskCell cell)
    {
        cell.Marks &= ~TaskMarks.Unjoined;
        _unjoined.Remove(cell);
    }

    /// <summary>Reports a failure that no join will take. An abort is no failure.</summary>
    internal void ReportFailure(TaskCell cell, Exception failure)
    {
        if (failure is not TaskAbortedException) _reactor.FailWork($"{cell.Name} #{cell.Id}", failure);
    }

    private Visit Enter()
    {
        _reactor.CheckThread();
        ObjectDisposedException.ThrowIf(_disposed, this);
        TaskThread thread = ThreadHere;
        return new Visit(thread, thread.Enter(this));
    }

    /// <summary>What the calling thread knows of tasks, remembered of the one that runs the reactor.</summary>
    private TaskThread ThreadHere =>
        _reactor.StopRequested || !_reactor.Runner.IsMine ? TaskThread.Mine : _runnersThread ??= TaskThread.Mine;

    private void Enqueue(TaskCell cell)
    {
        cell.Marks |= TaskMarks.Queued;
        if (_ready.Count == 0) _turn.Request();
        _ready.Add(cell);
    }

    /// <summary>Resumes the tasks that are ready now; those that become ready meanwhile have the next round.</summary>
    internal int RunReady()
    {
        int count = _ready.Count;
        if (count == 0) return 0;
        TaskThread thread = ThreadHere;
        ReactorTasks? before = thread.Enter(this);
        for (int i = 0; i < count; i++)
        {
            Resume(_ready.Take());
            while (_next is { } next)
            {
                _next = null;
                Resume(next);
            }
        }
        _resumes += count;
        thread.Leave(before);
        if (_ready.Count > 0) _turn.Request();
        return count;
    }

    private void Resume(TaskCell cell)
    {
        cell.Marks &= ~(TaskMarks.Queued | TaskMarks.Woken | TaskMarks.Yielded);
        if (_running != cell) _running = cell;
        _isResuming = true;
        cell.Resume();
        _isResuming = false;
    }

    /// <summary>Aborts every task and lets it clean up. What waits for other threads is dropped: it cannot come home any more.</summary>
    private void End()
    {
        if (_disposed) return;
        // What came home after the reactor had stopped.
        foreach (TaskCell cell in _cells.ToArray())
        {
            if (cell.IsLive) cell.Run(_reactor);
        }
        foreach (TaskCell cell in _cells.ToArray())
        {
            if (cell is { IsLive: true, AwaitedChild: null }) cell.Abort();
        }
        for (int round = 0; round < LastRoundsMax && _ready.Count > 0; round++) RunReady();
        _disposed = true;
        _dropped += LiveCount;
        ThreadHere.Forget(this);
        foreach (TaskCell cell in _unjoined.ToArray())
        {
            ForgetUnjoined(cell);
            ReportFailure(cell, cell.Failure!);
        }
    }

    /// <summary>While it lasts these tasks run on the calling thread.</summary>
    private readonly ref struct Visit(TaskThread thread, ReactorTasks? before)
    {
        public void Dispose() => thread.Leave(before);
    }

    private sealed class Turn(ReactorTasks tasks) : TurnWork(TasksOrder)
    {
        internal ReactorTasks Tasks => tasks;

        internal override int Run() => tasks.RunReady();

        internal override void ReactorEnding() => tasks.End();
    }
}
