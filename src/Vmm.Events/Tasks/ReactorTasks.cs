using System.Diagnostics.CodeAnalysis;

namespace Vmm.Events.Tasks;

/// <summary>What the tasks of a reactor did so far.</summary>
/// <param name="Resumes">Times a task went on after an await.</param>
/// <param name="Live">Async methods that are suspended or running now.</param>
/// <param name="SlabCells">Storage cells made.</param>
/// <param name="SlabGrowths">Times cells had to be made because the slab of a method was empty.</param>
/// <param name="Dropped">Tasks that could not be ended with the reactor because they waited for other threads.</param>
public readonly record struct ReactorTaskStatistics(long Resumes, int Live, long SlabCells, long SlabGrowths, long Dropped);

/// <summary>
/// The tasks of one reactor: async methods that run on its thread, at the end of its turns. Their storage is kept and reused. Every member is for the
/// reactor's thread.
/// </summary>
[SuppressMessage("Design", "CA1001:Types that own disposable fields should be disposable", Justification = "The reactor disposes it.")]
public sealed class ReactorTasks
{
    /// <summary>Most failures kept for a join that may still come; the oldest goes to the reactor's policy.</summary>
    private const int UnjoinedMax = 1024;

    /// <summary>Rounds that aborted tasks get for their clean-up when the reactor is disposed.</summary>
    private const int LastRoundsMax = 10_000;

    private static int _slabKeys;
    private static int _abortsDue;

    private readonly Reactor _reactor;
    private readonly Turn _turn;
    private readonly List<TaskCell> _unjoined = [];
    private TaskCell?[] _slabs = new TaskCell?[16];
    private TaskCell?[] _live = new TaskCell?[64];
    private int _liveCount;
    private TaskCell? _firstReady;
    private TaskCell? _lastReady;
    private TaskCell? _next;
    private int _readyCount;
    private TaskCell? _running;
    private long _resumes;
    private long _slabCells;
    private long _slabGrowths;
    private long _dropped;
    private bool _disposed;

    private ReactorTasks(Reactor reactor)
    {
        _reactor = reactor;
        _turn = new Turn(this);
        reactor.Attach(_turn);
    }

    /// <summary>The tasks of a reactor.</summary>
    /// <exception cref="ArgumentException">The reactor is a stand-in: tasks need a real one.</exception>
    public static ReactorTasks Of(IReactor reactor)
    {
        ArgumentNullException.ThrowIfNull(reactor);
        Reactor real = reactor as Reactor ?? throw new ArgumentException("tasks need a real reactor", nameof(reactor));
        return real.Find<Turn>()?.Tasks ?? new ReactorTasks(real);
    }

    /// <summary>The reactor they run on.</summary>
    public IReactor Reactor => _reactor;

    /// <summary>How other threads reach it.</summary>
    public RemoteEndpoint Remote => _reactor.Remote;

    /// <summary>What the tasks did so far.</summary>
    public ReactorTaskStatistics Statistics => new(_resumes, _liveCount, _slabCells, _slabGrowths, _dropped);

    /// <summary>Starts a task: it runs at once, up to its first await.</summary>
    /// <exception cref="InvalidOperationException">This is not the reactor's thread.</exception>
    public ReactorTask Spawn(Func<ReactorTask> body)
    {
        ArgumentNullException.ThrowIfNull(body);
        TaskThread thread = Enter(out ReactorTasks? before);
        try
        {
            return body();
        }
        finally
        {
            thread.Current = before;
        }
    }

    /// <summary>Starts a task without a closure: a static lambda and what it needs.</summary>
    /// <inheritdoc cref="Spawn(Func{ReactorTask})" path="/exception"/>
    public ReactorTask Spawn<TState>(Func<TState, ReactorTask> body, TState state)
    {
        ArgumentNullException.ThrowIfNull(body);
        TaskThread thread = Enter(out ReactorTasks? before);
        try
        {
            return body(state);
        }
        finally
        {
            thread.Current = before;
        }
    }

    /// <inheritdoc cref="Spawn(Func{ReactorTask})"/>
    public ReactorTask<T> Spawn<T>(Func<ReactorTask<T>> body)
    {
        ArgumentNullException.ThrowIfNull(body);
        TaskThread thread = Enter(out ReactorTasks? before);
        try
        {
            return body();
        }
        finally
        {
            thread.Current = before;
        }
    }

    /// <inheritdoc cref="Spawn{TState}(Func{TState, ReactorTask}, TState)"/>
    public ReactorTask<T> Spawn<TState, T>(Func<TState, ReactorTask<T>> body, TState state)
    {
        ArgumentNullException.ThrowIfNull(body);
        TaskThread thread = Enter(out ReactorTasks? before);
        try
        {
            return body(state);
        }
        finally
        {
            thread.Current = before;
        }
    }

    /// <summary>The tasks whose reactor is running something on this thread.</summary>
    internal static ReactorTasks Current => TaskThread.Mine.Current ?? throw new InvalidOperationException(
        $"no reactor runs tasks on this thread: start the method with {nameof(ReactorTasks)}.{nameof(Spawn)}");

    /// <summary>The task that is being resumed on this thread.</summary>
    internal static TaskCell Running => Current._running ?? throw new InvalidOperationException("no task is running");

    /// <summary>For the result of an await of ours: throws if the wait was given up. Mostly no wait of any thread was.</summary>
    internal static void ThrowIfAborted()
    {
        if (Volatile.Read(ref _abortsDue) != 0) TaskThread.Mine.Current?._running?.ThrowIfAborted();
    }

    /// <summary>Counts the waits that were given up and whose await has not thrown yet.</summary>
    internal static void CountAborts(int change) => Interlocked.Add(ref _abortsDue, change);

    internal ReactorTimers Timers => _reactor.Timers;

    /// <summary>Whether the reactor is gone.</summary>
    internal bool IsDisposed => _disposed;

    /// <summary>Whether the calling thread is the one that runs the reactor now.</summary>
    internal bool IsLocal => _reactor.IsRunByThisThread;

    internal static int NextSlabKey() => Interlocked.Increment(ref _slabKeys) - 1;

    /// <summary>The free cells of one async method.</summary>
    internal ref TaskCell? Slab(int key)
    {
        if (key >= _slabs.Length) Array.Resize(ref _slabs, Math.Max(key + 1, _slabs.Length * 2));
        return ref _slabs[key];
    }

    internal void CountSlabGrowth(int cells)
    {
        _slabCells += cells;
        _slabGrowths++;
    }

    internal void Track(TaskCell cell)
    {
        if (_liveCount == _live.Length) Array.Resize(ref _live, _live.Length * 2);
        cell.Key = _liveCount;
        _live[_liveCount++] = cell;
    }

    internal void Untrack(TaskCell cell)
    {
        TaskCell last = _live[--_liveCount]!;
        _live[_liveCount] = null;
        _live[cell.Key] = last;
        last.Key = cell.Key;
        cell.Key = -1;
        if (last == cell) _live[_liveCount] = null;
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
        if (_next is not null || _running is null)
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

    /// <summary>A failure that nobody joins. An abort is no failure.</summary>
    internal void ReportFailure(TaskCell cell, Exception failure)
    {
        if (failure is not TaskAbortedException) _reactor.FailWork(cell.Name, failure);
    }

    private TaskThread Enter(out ReactorTasks? before)
    {
        TaskThread thread = TaskThread.Mine;
        if (thread.Id != _reactor.OwnerThreadId) _reactor.CheckThread();
        ObjectDisposedException.ThrowIf(_disposed, this);
        before = thread.Current;
        thread.Current = this;
        return thread;
    }

    private void Enqueue(TaskCell cell)
    {
        cell.Marks |= TaskMarks.Queued;
        cell.NextReady = null;
        if (_lastReady is null)
        {
            _firstReady = cell;
            _turn.Request();
        }
        else
        {
            _lastReady.NextReady = cell;
        }
        _lastReady = cell;
        _readyCount++;
    }

    /// <summary>Resumes the tasks that are ready now; those that become ready meanwhile have the next round.</summary>
    internal int RunReady()
    {
        TaskThread thread = TaskThread.Mine;
        ReactorTasks? before = thread.Current;
        thread.Current = this;
        int count = _readyCount;
        for (int i = 0; i < count; i++)
        {
            TaskCell cell = _firstReady!;
            _firstReady = cell.NextReady;
            if (_firstReady is null) _lastReady = null;
            cell.NextReady = null;
            _readyCount--;
            Resume(cell);
            while (_next is { } next)
            {
                _next = null;
                Resume(next);
            }
        }
        _resumes += count;
        thread.Current = before;
        if (_readyCount > 0) _turn.Request();
        return count;
    }

    private void Resume(TaskCell cell)
    {
        cell.Marks &= ~(TaskMarks.Queued | TaskMarks.Woken | TaskMarks.Yielded);
        _running = cell;
        cell.Resume();
        _running = null;
    }

    /// <summary>Aborts every task and lets it clean up. What waits for other threads is dropped: it cannot come home any more.</summary>
    private void End()
    {
        if (_disposed) return;
        // What came home after the reactor had stopped.
        for (int i = 0; i < _liveCount; i++) _live[i]!.Run(_reactor);
        for (int i = _liveCount - 1; i >= 0; i--)
        {
            if (i < _liveCount && _live[i] is { AwaitedChild: null } leaf) leaf.Abort();
        }
        for (int round = 0; round < LastRoundsMax && _readyCount > 0; round++) RunReady();
        _disposed = true;
        _dropped += _liveCount;
        foreach (TaskCell cell in _unjoined.ToArray())
        {
            ForgetUnjoined(cell);
            ReportFailure(cell, cell.Failure!);
        }
    }

    private sealed class Turn(ReactorTasks tasks) : TurnWork(TasksOrder)
    {
        internal ReactorTasks Tasks => tasks;

        internal override int Run() => tasks.RunReady();

        internal override void ReactorDisposing() => tasks.End();
    }
}
