using System.Diagnostics.Tracing;

namespace Vmm.Events;

public sealed partial class Reactor
{
    /// <summary>
    /// Idle ⇄ Running, by any number of runs by hand; Running → Ending → Ended, when a stop was requested or a failure asked for it;
    /// Disposed from anywhere but Running.
    /// </summary>
    private enum Life
    {
        Idle,
        Running,
        Ending,
        Ended,
        Disposed,
    }

    private const int Forever = -1;
    private const long NotCounting = -1;

    private long _waits;
    private long _events;
    private long _ghosts;
    private long _rebuilds;
    private long _allocatedBytes;
    private long _allocatedAtStart = NotCounting;
    private long _turn;
    private ulong _currentData;
    private Subscription? _selfRemoved;
    private volatile Life _life;
    private bool _inTurn;
    private bool _dispatching;
    private bool _ghostCameBack;
    private volatile bool _stopRequested;

    /// <summary>Whether another thread, or a failed handler, asked the loop to end.</summary>
    internal bool StopRequested => _stopRequested;

    /// <summary>Whether the reactor has a reason not to block that is neither an event nor a call.</summary>
    internal bool HasWorkOrStops => Work.IsDue || _stopRequested;

    private long AllocatedBytes =>
        _allocatedBytes + (_allocatedAtStart == NotCounting ? 0 : GC.GetAllocatedBytesForCurrentThread() - _allocatedAtStart);

    /// <summary>Events handled, remote calls run and turn work done. The wake-up of the reactor itself is not counted.</summary>
    private long Handled => _events - _remote.WakeUps + _remote.CallsRun + Work.Done;

    /// <summary>
    /// Handles events on the calling thread until <paramref name="stop"/> is cancelled. Then the reactor has stopped for good: its tasks
    /// are aborted, what its rings have in flight is cancelled, pending and later remote calls fail with
    /// <see cref="ReactorStoppedException"/>, and all that is left to do is to take it apart or dispose it.
    /// </summary>
    /// <exception cref="InvalidOperationException">It runs already, or a handler asked for it.</exception>
    /// <exception cref="ReactorStoppedException">It was run to its end before.</exception>
    public void Run(CancellationToken stop = default) => Run(began: null, stop);

    /// <summary>As <see cref="Run(CancellationToken)"/>, and says when the calling thread owns the reactor.</summary>
    internal void Run(Action? began, CancellationToken stop)
    {
        TakeOver();
        ReactorEventSource.Log.RunStarted(Name);
        began?.Invoke();
        try
        {
            using CancellationTokenRegistration registration =
                stop.UnsafeRegister(static reactor => ((Reactor)reactor!).RequestStop(), this);
            while (!_stopRequested) Turn(Forever);
        }
        finally
        {
            Stopped(next: null);
            ReactorEventSource.Log.RunStopped(Name);
        }
        _failures.ThrowIfFatal();
    }

    /// <summary>
    /// Runs turns until one of them handled something or the time is up. A turn is one wait, one batch of events, some remote calls.
    /// </summary>
    /// <param name="timeout">
    /// Longest wait; zero is one turn that does not wait, <see cref="Timeout.InfiniteTimeSpan"/> waits for ever. Whole milliseconds,
    /// rounded up.
    /// </param>
    /// <returns>Events handled and remote calls run.</returns>
    /// <exception cref="InvalidOperationException">It is run by another thread, or a handler asked for it.</exception>
    /// <exception cref="ReactorStoppedException">
    /// It was run to its end before, a failed handler stopped it, or the thread that ran it has ended.
    /// </exception>
    public int RunOnce(TimeSpan timeout)
    {
        if (timeout != Timeout.InfiniteTimeSpan) ArgumentOutOfRangeException.ThrowIfLessThan(timeout, TimeSpan.Zero);
        TakeOver();
        long before = Handled;
        try
        {
            if (timeout == Timeout.InfiniteTimeSpan)
            {
                do Turn(Forever);
                while (Handled == before && !_stopRequested);
            }
            else
            {
                TurnsUntil(timeout, before);
            }
        }
        finally
        {
            if (_stopRequested) Stopped(next: null); else _life = Life.Idle;
        }
        _failures.ThrowIfFatal();
        return (int)(Handled - before);
    }

    private void TurnsUntil(TimeSpan timeout, long before)
    {
        long waitMs = (long)Math.Min(int.MaxValue, Math.Ceiling(timeout.TotalMilliseconds));
        long deadline = _poller.NowMs + waitMs;
        do
        {
            Turn((int)waitMs);
            waitMs = Math.Max(0, deadline - _poller.NowMs);
        }
        while (Handled == before && waitMs != 0 && !_stopRequested);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void TakeOver()
    {
        // Nearly always it is the same thread again, and none of the reasons to refuse holds.
        if (Runner.IsMine && !(_life == Life.Disposed | _inTurn | _stopRequested)) _life = Life.Running;
        else TakeOverOrThrow();
    }

    /// <summary>The first thread that runs the reactor owns it until the run has ended.</summary>
    private void TakeOverOrThrow()
    {
        ObjectDisposedException.ThrowIf(_life == Life.Disposed, this);
        Thread me = Thread.CurrentThread;
        StopIfAbandoned();
        Thread? runner = Interlocked.CompareExchange(ref _runner, me, null);
        if (_stopRequested && _life != Life.Running) throw new ReactorStoppedException(Name);
        if (runner is not null && runner != me) throw new InvalidOperationException($"reactor '{Name}' is run by another thread");
        ThrowIfInTurn("run the reactor that runs it");
        _life = Life.Running;
        if (runner == me) return;
        Runner.Claim();
        Volatile.Write(ref _owner, me);
        // Here and not where it is made: the first reactor of a process makes the instruments, which takes longer than all else it is made
        // of.
        ReactorMeter.Add(this);
        _allocatedAtStart = GC.GetAllocatedBytesForCurrentThread();
    }

    /// <summary>The reactor has stopped for good. A thread may dispose it; if that is null, the first one that does.</summary>
    private void Stopped(Thread? next)
    {
        _stopRequested = true;
        _life = Life.Ending;
        // Here and not where it is disposed: the kernel takes the requests of a ring from the thread that owns it only, and tasks run on no
        // other.
        Work.End();
        _allocatedBytes = AllocatedBytes;
        _allocatedAtStart = NotCounting;
        _poller.OwnerLeaves();
        _remote.Stop();
        Runner.GiveBack();
        _life = Life.Ended;
        Volatile.Write(ref _owner, next);
    }

    private void RequestStop()
    {
        _stopRequested = true;
        _remote.Wake();
    }

    private void Turn(int timeoutMs)
    {
        _inTurn = true;
        try
        {
            // Begun outside of a turn, or left over from the last one.
            if (Work.IsDue && Work.Run()) timeoutMs = 0;
            if (_again.HasAny) timeoutMs = 0;
            ReadOnlySpan<ReadyEvent> batch = timeoutMs != 0 && _looking is not null ? LookThenWait(timeoutMs, _looking) : Wait(timeoutMs);
            _waits++;
            _turn++;
            if (_again.HasAny) DispatchWithAgain(batch);
            else Dispatch(batch);
            int calls = _remote.HasCalls ? _remote.RunCalls(_options.RemoteCallsPerTurnMax) : 0;
            if (Work.IsDue) Work.Run();
            if (ReactorMeter.BatchSize.Enabled || ReactorEventSource.Log.IsEnabled()) ReportTurn(batch.Length, calls);
        }
        finally
        {
            _inTurn = false;
        }
    }

    private ReadOnlySpan<ReadyEvent> Wait(int timeoutMs)
    {
        ReadOnlySpan<ReadyEvent> seen = timeoutMs != 0 ? _poller.Look() : default;
        return seen.Length > 0 ? seen : Block(timeoutMs);
    }

    private ReadOnlySpan<ReadyEvent> LookThenWait(int timeoutMs, Looking looking)
    {
        if (looking.TryFind(timeoutMs, out ReadOnlySpan<ReadyEvent> seen)) return seen;
        ReadOnlySpan<ReadyEvent> batch = Block(timeoutMs);
        looking.Blocked();
        return batch;
    }

    /// <summary>
    /// Apart, because a method with a call that may block pays for that at its start, whether it comes to the call or not.
    /// </summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private ReadOnlySpan<ReadyEvent> Block(int timeoutMs)
    {
        if (timeoutMs != 0) timeoutMs = Work.IsDue ? 0 : _remote.AnnounceSleep(timeoutMs);
        ReadOnlySpan<ReadyEvent> batch = _poller.Wait(timeoutMs);
        _remote.Awake();
        return batch;
    }

    /// <summary>The events of this turn, and then the handlers that had asked for it in the last one.</summary>
    private void DispatchWithAgain(ReadOnlySpan<ReadyEvent> batch)
    {
        ReadOnlySpan<ReadyEvent> again = _again.Take(this, _slots);
        Dispatch(batch);
        Dispatch(again);
    }

    // The hot path: from the kernel's answer to the handler. One load, one compare, one virtual call.
    private void Dispatch(ReadOnlySpan<ReadyEvent> batch)
    {
        _dispatching = true;
        int next = 0;
        try
        {
            while (next < batch.Length && !_stopRequested)
            {
                try
                {
                    if (Watching is { } watch) DispatchWatched(watch, batch, ref next); else DispatchUntilFailure(batch, ref next);
                }
                catch (Exception exception)
                {
                    Fail(exception);
                }
            }
        }
        finally
        {
            _currentData = 0;
            _dispatching = false;
            _slots.BatchEnded();
        }
        if (_ghostCameBack) RebuildSet();
    }

    /// <summary>The hot path, one event at a time with a clock beside it.</summary>
    private void DispatchWatched(HandlerWatch watch, ReadOnlySpan<ReadyEvent> batch, ref int next)
    {
        while (next < batch.Length)
        {
            watch.Switch(SlotTable.TargetOf(batch[next].Data));
            try
            {
                DispatchUntilFailure(batch[..(next + 1)], ref next);
            }
            finally
            {
                watch.Switch(null);
            }
        }
    }

    private void DispatchUntilFailure(ReadOnlySpan<ReadyEvent> batch, ref int next)
    {
        // Compared as a local of the loop, so that no bound is checked twice; stored before the handler, which may throw.
        int at = next;
        while ((uint)at < (uint)batch.Length)
        {
            ReadyEvent ready = batch[at];
            next = ++at;
            ref Slot slot = ref ThinPointer.Resolve(ready.Data);
            if (slot.Generation != ThinPointer.GenerationOf(ready.Data))
            {
                DropGhost(ref slot);
                continue;
            }
            if ((slot.Bits & Interest.OneShotMask) != 0) Disarm(ref slot);
            _currentData = ready.Data;
            _events++;
            slot.Target!.Dispatch(new Readiness(ready.Events), this);
            if (_selfRemoved is not null) CloseSelf();
        }
    }

    private void Disarm(ref Slot slot)
    {
        // Modified earlier in this batch, after its event had been reported: the kernel has it armed again.
        if (slot.ArmedInTurn != _turn) slot.Bits = DisarmedBit;
    }

    private void CloseSelf()
    {
        OwnedFd handle = _selfRemoved!.Handle;
        _selfRemoved = null;
        Close(handle);
    }

    private void DropGhost(ref Slot slot)
    {
        _ghosts++;
        // Retired in this very batch: the event had been reported before, that is all. Retired earlier: the kernel still
        // watches a file description that we can no longer name.
        if (slot.RetiredInTurn != _turn) _ghostCameBack = true;
    }

    private void RebuildSet()
    {
        _ghostCameBack = false;
        try
        {
            _poller.Rebuild();
        }
        catch (KernelException exception)
        {
            // Out of descriptors: the old set still serves everybody. The ghost will ask again.
            Report(new HandlerFailure($"reactor '{Name}'", exception));
            return;
        }
        _rebuilds++;
        ReactorEventSource.Log.SetRebuilt(Name);
        for (int i = 0; i < _slots.Capacity; i++)
        {
            ref Slot slot = ref _slots[i];
            if (slot.Target is not { } target || slot.Bits == DisarmedBit) continue;
            Errno errno = _poller.Add(slot.Fd, slot.Bits, ThinPointer.To(ref slot));
            if (errno != Errno.None) Report(new HandlerFailure(target.Name, Refused("watch", target, errno)));
        }
    }

    private void Fail(Exception exception)
    {
        Subscription? failed = _selfRemoved ?? SlotTable.TargetOf(_currentData);
        string name = failed?.Name ?? Name;
        if (_selfRemoved is not null) CloseSelf();
        if (failed is not null)
        {
            failed.Owner?.RemoveFrom(this);
            Remove(failed);
            if (_selfRemoved is not null) CloseSelf();
        }
        bool stops = _failures.Add(name, exception);
        if (failed?.Owner is { } owner) DisposeOwner(owner, name);
        if (stops) _stopRequested = true;
    }

    internal void DisposeOwner(Subscriber owner, string name)
    {
        try
        {
            owner.Dispose();
        }
        catch (Exception exception)
        {
            Report(new HandlerFailure(name, exception));
        }
    }

    /// <summary>Work on this reactor threw, and no caller handles it: it is reported and, by policy, stops the reactor.</summary>
    internal void FailWork(string name, Exception exception)
    {
        if (_failures.Add(name, exception)) _stopRequested = true;
    }

    internal void Report(HandlerFailure failure) => _failures.Report(failure);

    internal void Report(SlowHandler slow) => _failures.Report(slow);

    private void ReportTurn(int events, int calls)
    {
        if (ReactorMeter.BatchSize.Enabled) ReactorMeter.BatchSize.Record(events, new KeyValuePair<string, object?>("reactor", Name));
        if (ReactorEventSource.Log.IsEnabled(EventLevel.Verbose, EventKeywords.None)) ReactorEventSource.Log.Turned(Name, events, calls);
    }
}
