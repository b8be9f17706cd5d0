namespace Vmm.Events.Tasks;

/// <summary>What a task is doing.</summary>
[Flags]
internal enum TaskMarks
{
    None = 0,
    /// <summary>In the ready queue.</summary>
    Queued = 1 << 0,
    /// <summary>Has a result or a failure.</summary>
    Completed = 1 << 1,
    /// <summary>Waits for a waker.</summary>
    Parked = 1 << 2,
    /// <summary>Was woken while it did something else: the next park ends at once.</summary>
    Notified = 1 << 3,
    /// <summary>To be aborted at its next await that has no result yet.</summary>
    AbortWanted = 1 << 4,
    /// <summary>Its wait was given up: the await throws.</summary>
    AbortNow = 1 << 5,
    /// <summary>It will not be joined.</summary>
    Detached = 1 << 6,
    /// <summary>In the slab.</summary>
    Free = 1 << 7,
    /// <summary>Failed, and in the list of failures that were not reported yet.</summary>
    Unjoined = 1 << 8,
    /// <summary>Queued by a waker: more wakes before it runs change nothing.</summary>
    Woken = 1 << 9,
    /// <summary>Queued by itself: it has no result to lose.</summary>
    Yielded = 1 << 10,
}

/// <summary>
/// The storage of one running async method: a header beside its state machine (see <see cref="StateMachineCell{TStateMachine, T}"/>). It is
/// its own entry in the ready queue and, as a <see cref="RemoteCall"/>, in the queue of other threads. Reused when it has completed, no
/// handle refers to it and its last waker is gone; the generation distinguishes its lives.
/// </summary>
internal abstract class TaskCell : RemoteCall
{
    /// <summary>Most wakers of one task.</summary>
    internal const int WakersMax = 65_535;

    private const int RemoteResume = 1;
    private const int RemoteNotify = 2;
    private const int RemoteRecycle = 4;

    private int _remote;
    private int _wakers;
    private int _holds;
    private bool _hadWakers;
    private Action? _home;
    private Exception? _failure;

    private readonly RemoteEndpoint _endpoint;

    private protected TaskCell(ReactorTasks tasks)
    {
        Tasks = tasks;
        _endpoint = tasks.Remote;
    }

    internal ReactorTasks Tasks { get; }

    internal TaskMarks Marks = TaskMarks.Free;

    internal uint Generation;

    /// <summary>The number of this life among those of its reactor, from 1.</summary>
    internal long Id;

    /// <summary>Its place among all cells of its reactor.</summary>
    internal int Key;

    /// <summary>What it is suspended on, if that can be given up.</summary>
    internal ITaskWait? Wait;

    /// <summary>The task it is suspended on.</summary>
    internal TaskCell? AwaitedChild;

    /// <summary>The task that is suspended on it.</summary>
    internal TaskCell? Joiner;

    /// <summary>Code outside of the tasks that waits for it.</summary>
    internal Action? OutsideJoiner;

    /// <summary>Its timer, made when it is first needed.</summary>
    internal DelayEntry? Delay;

    /// <summary>Continues the async method after its await.</summary>
    internal abstract void Resume();

    /// <summary>The async method's name, for reports.</summary>
    internal abstract string MethodName { get; }

    /// <summary>Forgets what the method held and goes back to the slab.</summary>
    private protected abstract void ClearAndReturn();

    internal bool Is(TaskMarks mark) => (Marks & mark) != 0;

    internal bool IsLive => !Is(TaskMarks.Completed | TaskMarks.Free);

    internal Exception? Failure => _failure;

    protected internal override string Name => $"task {MethodName}";

    /// <summary>Begins a life: held by its execution and by its handle.</summary>
    internal void Begin()
    {
        Marks = TaskMarks.None;
        _holds = 2;
        Tasks.LiveCount++;
        Id = ++Tasks.LastId;
    }

    /// <summary>A continuation for awaiters that know nothing of reactors; it may be called on any thread.</summary>
    internal Action Home => _home ??= ComeHome;

    /// <summary>One more waker of this life.</summary>
    internal void AddWaker()
    {
        _hadWakers = true;
        if (Interlocked.Increment(ref _wakers) <= WakersMax) return;
        Interlocked.Decrement(ref _wakers);
        throw new InvalidOperationException($"a task has at most {WakersMax} wakers: dispose those that are done");
    }

    internal void DropWaker()
    {
        int left = Interlocked.Decrement(ref _wakers);
        if (left < 0)
        {
            Interlocked.Increment(ref _wakers);
            throw new InvalidOperationException("this waker was disposed before");
        }
        if (left > 0 || Volatile.Read(ref _holds) > 0) return;
        if (_endpoint.IsHome) TryRecycle(); else PostHome(RemoteRecycle);
    }

    /// <summary>Wakes the task, from any thread. While it is queued, running or done, that costs no queue.</summary>
    internal bool Notify()
    {
        if (!_endpoint.IsHome) return PostHome(RemoteNotify);
        return Is(TaskMarks.Woken) || NotifyHere();
    }

    internal void Succeeded()
    {
        Marks |= TaskMarks.Completed;
        Ended();
    }

    internal void Failed(Exception failure)
    {
        _failure = failure;
        Marks |= TaskMarks.Completed;
        Ended();
    }

    /// <summary>The handle is done with the task, which may still run.</summary>
    internal void DropHandle()
    {
        if (Is(TaskMarks.Unjoined)) Tasks.ForgetUnjoined(this);
        Drop();
    }

    internal void Detach()
    {
        Marks |= TaskMarks.Detached;
        if (Is(TaskMarks.Completed) && _failure is not null) Tasks.ReportFailure(this, _failure);
        DropHandle();
    }

    /// <summary>
    /// Asks the task to end at its await, or, if that has its result already, at the next one. It is asked where it stands: in the
    /// innermost method that it waits for.
    /// </summary>
    internal void Abort()
    {
        TaskCell leaf = this;
        while (leaf.AwaitedChild is { } child) leaf = child;
        if (leaf.Is(TaskMarks.AbortNow)) return;
        leaf.Marks |= TaskMarks.AbortWanted;
        leaf.DeliverAbort();
    }

    /// <summary>Gives up the wait, if it is one that can be given up.</summary>
    internal void DeliverAbort()
    {
        bool isGivenUp = Is(TaskMarks.Parked | TaskMarks.Yielded) || (Wait is { } wait && wait.GiveUp(this));
        if (!isGivenUp) return;
        Wait = null;
        Marks = (Marks & ~(TaskMarks.AbortWanted | TaskMarks.Parked | TaskMarks.Yielded)) | TaskMarks.AbortNow;
        ReactorTasks.CountAborts(1);
        Tasks.Ready(this);
    }

    internal void ThrowIfAborted()
    {
        if (!Is(TaskMarks.AbortNow)) return;
        Marks &= ~TaskMarks.AbortNow;
        ReactorTasks.CountAborts(-1);
        throw new TaskAbortedException();
    }

    /// <summary>Suspends until a waker wakes it.</summary>
    internal void Park()
    {
        if (Is(TaskMarks.Notified))
        {
            Marks &= ~TaskMarks.Notified;
            Tasks.Ready(this);
            return;
        }
        Marks |= TaskMarks.Parked;
    }

    protected internal override void Run(IReactor reactor)
    {
        int what = Interlocked.Exchange(ref _remote, 0);
        if ((what & RemoteResume) != 0) Tasks.Ready(this);
        if ((what & RemoteNotify) != 0) NotifyHere();
        if ((what & RemoteRecycle) != 0) TryRecycle();
    }

    /// <summary>For tests of the counters' ends.</summary>
    internal void Age(uint generation) => Generation = generation;

    private void Mark(TaskMarks mark) => Marks |= mark;

    private bool NotifyHere()
    {
        if (Is(TaskMarks.Parked))
        {
            Marks = (Marks & ~TaskMarks.Parked) | TaskMarks.Woken;
            Tasks.Ready(this);
        }
        else if (!Is(TaskMarks.Woken | TaskMarks.Completed | TaskMarks.Free))
        {
            Marks |= TaskMarks.Notified;
        }
        return !Tasks.IsDisposed;
    }

    private void ComeHome()
    {
        if (_endpoint.IsHome) Tasks.Ready(this); else PostHome(RemoteResume);
    }

    /// <summary>
    /// Has the reactor's thread do something. What is to be done says whether the task is in the queue: it is as soon as there is anything.
    /// </summary>
    /// <returns>False if the reactor has stopped.</returns>
    private bool PostHome(int what)
    {
        int before = Interlocked.CompareExchange(ref _remote, what, 0);
        if (before == 0) return _endpoint.TryPush(this);
        // Taken by the reactor since then: nothing is there, and it is in no queue.
        if ((before & what) == 0 && Interlocked.Or(ref _remote, what) == 0) return _endpoint.TryPush(this);
        return !_endpoint.HasStopped;
    }

    private void Ended()
    {
        Tasks.LiveCount--;
        // An abort that found no await of this method is its caller's.
        if (Is(TaskMarks.AbortWanted)) Joiner?.Mark(TaskMarks.AbortWanted);
        if (Joiner is { } joiner)
        {
            Joiner = null;
            joiner.AwaitedChild = null;
            Tasks.ReadyNext(joiner);
        }
        else if (_failure is not null && OutsideJoiner is null)
        {
            if (Is(TaskMarks.Detached)) Tasks.ReportFailure(this, _failure); else Tasks.AddUnjoined(this);
        }
        Action? outside = OutsideJoiner;
        OutsideJoiner = null;
        Drop();
        outside?.Invoke();
    }

    private void Drop()
    {
        if (--_holds == 0) TryRecycle();
    }

    private void TryRecycle()
    {
        if (_holds > 0 || Is(TaskMarks.Free)) return;
        if (_hadWakers)
        {
            // The last waker may go on another thread: of the two of us at least one sees that all is over.
            Interlocked.MemoryBarrier();
            if (Volatile.Read(ref _wakers) > 0) return;
            _hadWakers = false;
        }
        Marks = TaskMarks.Free;
        Wait = null;
        _failure = null;
        // A cell whose generations are used up is left to the collector: no stale handle can match again.
        if (++Generation == uint.MaxValue) Tasks.Untrack(this); else ClearAndReturn();
    }
}
