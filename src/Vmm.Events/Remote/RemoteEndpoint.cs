namespace Vmm.Events;

/// <summary>
/// How threads that do not own a reactor reach it. Thread-safe, cheap to share. What is handed to it runs on the reactor's thread in the
/// order it came in, or fails with <see cref="ReactorStoppedException"/>: nothing is lost in silence.
/// </summary>
public sealed class RemoteEndpoint
{
    private const int Awaken = 0;
    private const int Asleep = 1;

    /// <summary>
    /// How often the reactor looks for a link that a producer is about to store, before it assumes that the producer was preempted.
    /// </summary>
    private const int LooksForLinkMax = 200;

    private const int LinkWaitMs = 1;

    private static int _numbers;

    private readonly Reactor _reactor;
    private readonly ThreadStack _runner;
    private readonly Lock _popLock = new();
    /// <summary>Says in a call which queue it is in. Never 0, which stands for none.</summary>
    private readonly int _number = NextNumber();
    private readonly ReactorEnd _reactorEnd;
    // Not written while the reactor polls: the callers read it.
    private int _sleep = Awaken;
    private volatile bool _stopped;

    internal RemoteEndpoint(Reactor reactor)
    {
        _reactor = reactor;
        _runner = reactor.Runner;
        _reactorEnd = new ReactorEnd(_number);
        (PostedWord, AnsweredWord) = (AttachableCall.PostedTo(_number), AttachableCall.AnsweredBy(_number));
        Wakeful = Interest.Kick.WithFd(new EventFd()).WithHandler(_ => _reactorEnd.WakeUps++);
    }

    internal RemoteQueue Queue { get; } = new();

    /// <summary>The subscription of the wake-up eventfd: edge-triggered, never drained.</summary>
    internal Subscription<EventFd> Wakeful { get; }

    internal long WakeUps => _reactorEnd.WakeUps;

    internal long CallsRun => _reactorEnd.CallsRun;

    /// <summary>The word of an attached call that is to be run.</summary>
    internal long PostedWord { get; }

    /// <summary>The word of an attached call that was answered.</summary>
    internal long AnsweredWord { get; }

    /// <summary>The name of the reactor behind this endpoint.</summary>
    public string ReactorName => _reactor.Name;

    /// <summary>What the reactor did so far, without asking it. Any thread.</summary>
    public ReactorStatistics Statistics => _reactor.Snapshot();

    /// <summary>Whether the calling thread is the one that runs the reactor. Before the first run no thread is.</summary>
    public bool IsReactorThread => _reactor.IsRunByThisThread;

    /// <summary>
    /// A cheap <see cref="IsReactorThread"/> that may give false negatives; callers then take the path of other threads, which is also
    /// correct.
    /// </summary>
    internal bool IsHome => _runner.IsMine;

    /// <summary>
    /// The processor on which the reactor ran the last call that a thread waited for; -1 before. A hint: it may be elsewhere now.
    /// </summary>
    internal int LastCpu { get; private set; } = -1;

    /// <summary>Whether a thread waits that can go on only when the reactor leaves the processor. A hint too.</summary>
    internal bool WaiterNeedsThisCpu { get; set; }

    /// <summary>Has the reactor run something, soon, and does not wait.</summary>
    /// <exception cref="ReactorStoppedException">The reactor stopped. If it stops later, before the call could run, that is reported to
    /// <see cref="ReactorOptions.OnHandlerFailure"/>.</exception>
    public void Post(Action<IReactor> call)
    {
        ArgumentNullException.ThrowIfNull(call);
        Post(new ActionCall(this, call));
    }

    /// <summary>Has the reactor run a pre-allocated call, soon, and does not wait or allocate.</summary>
    /// <returns>False if it was queued here already: it will run once for both.</returns>
    /// <exception cref="InvalidOperationException">
    /// It is in the queue of another reactor: it can be posted here when it has run there.
    /// </exception>
    /// <exception cref="ReactorStoppedException">The reactor stopped.</exception>
    public bool Post(RemoteCall call)
    {
        ArgumentNullException.ThrowIfNull(call);
        return TryPost(call, out bool queued) ? queued : throw new ReactorStoppedException(ReactorName);
    }

    /// <summary>As <see cref="Post(RemoteCall)"/>, for callers that outlive the reactor.</summary>
    /// <returns>False if the reactor stopped: the call will not run.</returns>
    /// <exception cref="InvalidOperationException">It is in the queue of another reactor.</exception>
    public bool TryPost(RemoteCall call)
    {
        ArgumentNullException.ThrowIfNull(call);
        return TryPost(call, out _);
    }

    /// <summary>Makes a doorbell for a handler.</summary>
    /// <param name="handler">Called on the reactor's thread.</param>
    /// <param name="name">For messages and measurements.</param>
    public Doorbell CreateDoorbell(Action<IReactor> handler, string name = "a doorbell")
    {
        ArgumentNullException.ThrowIfNull(handler);
        ArgumentException.ThrowIfNullOrEmpty(name);
        return new Doorbell(this, name, handler);
    }

    /// <summary>
    /// Runs a function on the reactor's thread and waits for its result. Allocates nothing but, once for each calling thread, the call.
    /// </summary>
    /// <param name="function">What to run. What it throws is thrown here.</param>
    /// <param name="timeout">Longest wait; null waits for ever. A call that has not started by then never does.</param>
    /// <param name="cancellation">Gives up waiting; a call that has not started by then never does.</param>
    /// <exception cref="InvalidOperationException">
    /// Called on the reactor's own thread, which would wait for itself: the one that runs it or, before any thread does, the one that made
    /// it.
    /// </exception>
    /// <exception cref="TimeoutException">The time was up. A call that had started goes on, its result is dropped.</exception>
    /// <exception cref="OperationCanceledException">Cancelled. A call that had started goes on, its result is dropped.</exception>
    /// <exception cref="ReactorStoppedException">The reactor stopped before the call ran.</exception>
    public T Invoke<T>(Func<IReactor, T> function, TimeSpan? timeout = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(function);
        ThrowIfOver(timeout, cancellation);
        return AwaitedCall<T>.Do(this, function, timeout, cancellation);
    }

    /// <inheritdoc cref="Invoke{T}"/>
    public void Invoke(Action<IReactor> function, TimeSpan? timeout = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(function);
        ThrowIfOver(timeout, cancellation);
        AwaitedCall<bool>.Do(this, function, timeout, cancellation);
    }

    private static void ThrowIfOver(TimeSpan? timeout, CancellationToken cancellation)
    {
        CheckTimeout(timeout);
        cancellation.ThrowIfCancellationRequested();
    }

    /// <summary>Refuses to wait for what can't come.</summary>
    internal void ThrowIfInVain()
    {
        StopIfAbandoned();
        if (_stopped) throw new ReactorStoppedException(ReactorName);
        if (IsReactorThread)
            throw new InvalidOperationException(
                $"this is the thread of reactor '{ReactorName}': call the function instead of waiting for yourself");
        if (_reactor.WaitsForItsMaker)
            throw new InvalidOperationException(
                $"reactor '{ReactorName}' does not run yet, and this thread made it: let another thread run it first");
    }

    /// <summary>If no thread can run the reactor any more, this fails what is pending.</summary>
    internal void StopIfAbandoned() => _reactor.StopIfAbandoned();

    /// <summary>
    /// Runs a function on the reactor's thread and gives a task of its result. May be called on the reactor's own thread, which must not
    /// block until the task ends; neither must the thread that made the reactor, before another one runs it.
    /// </summary>
    /// <inheritdoc cref="Invoke{T}" path="/param"/>
    public Task<T> InvokeAsync<T>(Func<IReactor, T> function, TimeSpan? timeout = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(function);
        CheckTimeout(timeout);
        if (cancellation.IsCancellationRequested) return Task.FromCanceled<T>(cancellation);
        _reactor.StopIfAbandoned();
        InvokeCall<T> call = new(function);
        if (!TryPost(call)) return Task.FromException<T>(new ReactorStoppedException(ReactorName));
        return call.WaitAsync(timeout, cancellation);
    }

    /// <summary>
    /// Hands every source of a subscriber from this reactor to another. No event is lost: what happens in between is reported by the other
    /// reactor, and an edge-triggered source may get one event more than there were. Its handlers run on one of the two threads at a time.
    /// </summary>
    /// <param name="subscriber">Registered in this endpoint's reactor.</param>
    /// <param name="destination">The other reactor.</param>
    /// <returns>Ends when the other reactor watches them.</returns>
    /// <exception cref="InvalidOperationException">A source is not registered in this reactor.</exception>
    /// <exception cref="KernelException">The other reactor could not watch one of them: this one goes on with all.</exception>
    /// <exception cref="ReactorStoppedException">
    /// One of the reactors stopped. If it is the other, this one goes on with all; if it is both, the descriptors are closed.
    /// </exception>
    public async Task HandOverAsync(Subscriber subscriber, RemoteEndpoint destination)
    {
        ArgumentNullException.ThrowIfNull(subscriber);
        ArgumentNullException.ThrowIfNull(destination);
        HandedOver parcel = await InvokeAsync(_ => HandedOver.From(_reactor, subscriber)).ConfigureAwait(false);
        try
        {
            await destination.TakeInAsync(parcel).ConfigureAwait(false);
        }
        catch (Exception)
        {
            await TakeBackAsync(parcel).ConfigureAwait(false);
            throw;
        }
    }

    private Task TakeInAsync(HandedOver parcel) => InvokeAsync(_ =>
    {
        parcel.Into(_reactor);
        return true;
    });

    private async Task TakeBackAsync(HandedOver parcel)
    {
        try
        {
            await TakeInAsync(parcel).ConfigureAwait(false);
        }
        catch (Exception)
        {
            // No reactor is left to watch them. The caller gets the first reason, and a failure of the subscriber's own end is reported.
            CloseAndReport(parcel);
        }
    }

    private void CloseAndReport(HandedOver parcel)
    {
        try
        {
            parcel.Close();
        }
        catch (Exception exception)
        {
            _reactor.Report(new HandlerFailure("the end of a subscriber that was handed over", exception));
        }
    }

    /// <summary>Whether <see cref="RunCalls"/> would find one.</summary>
    internal bool HasCalls => _reactorEnd.Posted is not null || Queue.HasEntry;

    /// <summary>Runs at most <paramref name="callsMax"/> calls, on the reactor's thread.</summary>
    internal int RunCalls(int callsMax)
    {
        if (_reactor.StopRequested) return 0;
        int run = 0;
        if (_reactorEnd.Posted is { } attached && !QueueIfLater(attached))
        {
            run = 1;
            Run(attached);
            NoteCpu();
        }
        while (run < callsMax && !_reactor.StopRequested && Queue.Pop() is { } call)
        {
            run++;
            // Cleared before the work starts, with a full fence: a post from now on causes a later run.
            if (call.Queued != 0) Interlocked.Exchange(ref call.Queued, 0);
            Run(call);
        }
        _reactorEnd.CallsRun += run;
        return run;
    }

    /// <summary>Queues a posted call that others are before: its thread may have posted them.</summary>
    private bool QueueIfLater(AttachableCall attached)
    {
        if (Queue.IsUntouched) return false;
        attached.LeaveFor(this);
        Queue.Push(attached);
        return true;
    }

    private void Run(RemoteCall call)
    {
        _reactor.Watching?.Switch(call);
        try
        {
            call.Run(_reactor.Face);
        }
        catch (Exception exception)
        {
            _reactor.FailWork(call.Name, exception);
        }
        _reactor.Watching?.Switch(null);
    }

    /// <summary>A call of a waiting thread came through the queue. On the reactor's thread, before the waiter knows.</summary>
    /// <returns>The number it is attached to from now on; 0 for none.</returns>
    internal int TryAttach(AttachableCall call)
    {
        NoteCpu();
        return _reactorEnd.TryAttach(call);
    }

    private void NoteCpu()
    {
        int cpu = Thread.GetCurrentProcessorId();
        // Not written when nothing changes: the callers read it.
        if (LastCpu != cpu) LastCpu = cpu;
    }

    /// <summary>Announces to the producers that the reactor is about to block.</summary>
    /// <returns>How long it may: nothing if something is queued.</returns>
    internal int AnnounceSleep(int timeoutMs)
    {
        Interlocked.Exchange(ref _sleep, Asleep);
        if (_reactorEnd.Posted is not null)
        {
            Volatile.Write(ref _sleep, Awaken);
            return 0;
        }
        if (Queue.IsUntouched && !_reactor.StopRequested) return timeoutMs;
        // A push has begun and is not linked yet. Its producer may have looked for a sleeper before the announcement; it is a few
        // instructions from its end.
        for (int look = 0; look < LooksForLinkMax && !Queue.HasEntry && !_reactor.StopRequested; look++) Thread.SpinWait(1);
        // The producer was preempted. If it has not looked for a sleeper yet, it will wake the reactor; the time limit covers the case that
        // it has.
        if (!Queue.HasEntry && !_reactor.StopRequested) return timeoutMs < 0 ? LinkWaitMs : Math.Min(timeoutMs, LinkWaitMs);
        Volatile.Write(ref _sleep, Awaken);
        return 0;
    }

    internal void Awake()
    {
        // Not written when nothing changes: the producers look at it.
        if (_sleep != Awaken) Volatile.Write(ref _sleep, Awaken);
    }

    /// <summary>Wakes the reactor if it announced that it sleeps; of several producers one pays for it.</summary>
    internal void Wake()
    {
        Interlocked.MemoryBarrier();
        WakeSleeper();
    }

    /// <summary>The same behind an interlocked operation on what the reactor looks at after its announcement.</summary>
    private void WakeSleeper()
    {
        if (Volatile.Read(ref _sleep) != Asleep || Interlocked.Exchange(ref _sleep, Awaken) != Asleep) return;
        try
        {
            Wakeful.Fd.Signal();
        }
        catch (ObjectDisposedException)
        {
            // The reactor woke by itself and is gone: what was queued is failed by Stop or by the pusher.
        }
    }

    /// <summary>The state that a watchdog shows when a wake-up seems lost. Read without order: a hint, not a proof.</summary>
    internal string Describe() =>
        $"{(Volatile.Read(ref _sleep) == Asleep ? "asleep" : "awake")}, {(HasCalls ? "calls queued" : "queue empty")}, "
        + $"{(_stopped ? "stopped" : "not stopped")}, {CallsRun} calls run, {WakeUps} wake-ups";

    /// <summary>Fails what is queued, and everything after.</summary>
    internal void Stop()
    {
        _stopped = true;
        Interlocked.MemoryBarrier();
        FailQueued();
    }

    /// <summary>Whether nothing is run any more.</summary>
    internal bool HasStopped => _stopped;

    private bool TryPost(RemoteCall call, out bool queued)
    {
        queued = false;
        if (_stopped) return false;
        int before = Interlocked.CompareExchange(ref call.Queued, _number, 0);
        if (before != 0) return before == _number || ThrowQueuedElsewhere(call);
        queued = true;
        return TryPush(call);
    }

    /// <summary>
    /// A call has one place for the link of a queue, so a second queue cannot take it; to say that it is queued would lose it in silence.
    /// </summary>
    private bool ThrowQueuedElsewhere(RemoteCall call) => throw new InvalidOperationException(
        $"{call.Name} is in the queue of another reactor: "
        + $"post it to '{ReactorName}' when it has run there, or use a call for each reactor");

    private static int NextNumber()
    {
        int number = Interlocked.Increment(ref _numbers);
        return number != 0 ? number : Interlocked.Increment(ref _numbers);
    }

    /// <summary>
    /// As <see cref="TryPost(RemoteCall)"/>, for a call that is in no queue and sees to it itself that it is in one once at most.
    /// </summary>
    internal bool TryPush(RemoteCall call)
    {
        if (_stopped) return false;
        // The exchange in there is the fence between what is queued and the look for a sleeper.
        Queue.Push(call);
        WakeSleeper();
        // A stop may have raced with this push. Either side may fail the call, and exactly one does.
        if (_stopped) FailQueued();
        return true;
    }

    /// <summary>As <see cref="TryPush"/>, for an attached call whose word says by now that it is posted, with a full fence.</summary>
    internal void PostedAttached()
    {
        WakeSleeper();
        if (_stopped) FailQueued();
    }

    private void FailQueued()
    {
        ReactorStoppedException reason = new(ReactorName);
        lock (_popLock)
        {
            if (_reactorEnd.Posted is { } attached) Abandon(attached, reason);
            while (Queue.Pop() is { } call)
            {
                Volatile.Write(ref call.Queued, 0);
                Abandon(call, reason);
            }
        }
    }

    private void Abandon(RemoteCall call, ReactorStoppedException reason)
    {
        try
        {
            call.Abandon(reason);
        }
        catch (Exception exception)
        {
            // The other calls in the queue must be failed too.
            _reactor.Report(new HandlerFailure(call.Name, exception));
        }
    }

    /// <summary>Says of a call whose poster does not wait that it will not run.</summary>
    internal void ReportAbandoned(RemoteCall call, ReactorStoppedException reason) =>
        _reactor.Report(new HandlerFailure(call.Name, reason));

    private static void CheckTimeout(TimeSpan? timeout)
    {
        if (timeout is not { } value || value == Timeout.InfiniteTimeSpan) return;
        ArgumentOutOfRangeException.ThrowIfLessThan(value, TimeSpan.Zero, nameof(timeout));
        ArgumentOutOfRangeException.ThrowIfGreaterThan(value, TimeSpan.FromMilliseconds(int.MaxValue), nameof(timeout));
    }
}
