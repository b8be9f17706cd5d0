using System.Runtime.ExceptionServices;
using Vmm.Events.Native;

namespace Vmm.Events;

public sealed partial class Reactor
{
    private const int NoThread = 0;
    private const int Forever = -1;

    private long _waits;
    private long _events;
    private long _ghosts;
    private long _rebuilds;
    private long _failures;
    private long _allocatedBytes;
    private long _allocatedAtStart;
    private long _turn;
    private ulong _currentData;
    private Subscription? _selfRemoved;
    private ExceptionDispatchInfo? _fatal;
    private bool _inTurn;
    private bool _running;
    private bool _dispatching;
    private bool _ghostCameBack;
    private volatile bool _stopRequested;

    /// <summary>Whether another thread, or a failed handler, asked the loop to end.</summary>
    internal bool StopRequested => _stopRequested;

    private long AllocatedInThisRun => _running ? GC.GetAllocatedBytesForCurrentThread() - _allocatedAtStart : 0;

    /// <summary>
    /// Handles events on the calling thread until <paramref name="stop"/> is cancelled. Then the reactor has stopped for good: pending and
    /// later remote calls fail with <see cref="ReactorStoppedException"/>, and all that is left to do is to take it apart or dispose it.
    /// </summary>
    /// <exception cref="InvalidOperationException">It runs already, or a handler asked for it.</exception>
    /// <exception cref="ReactorStoppedException">It was run to its end before.</exception>
    public void Run(CancellationToken stop = default)
    {
        TakeOver();
        _running = true;
        _allocatedAtStart = GC.GetAllocatedBytesForCurrentThread();
        try
        {
            using CancellationTokenRegistration registration = stop.UnsafeRegister(static reactor => ((Reactor)reactor!).RequestStop(), this);
            while (!_stopRequested) Turn(Forever);
            _fatal?.Throw();
        }
        finally
        {
            _allocatedBytes += AllocatedInThisRun;
            _running = false;
            _remote.Stop();
            Volatile.Write(ref _ownerThreadId, NoThread);
        }
    }

    /// <summary>One turn: remote calls, one wait, one batch.</summary>
    /// <param name="timeout">Longest wait; zero does not wait, <see cref="Timeout.InfiniteTimeSpan"/> waits for ever. Whole milliseconds, rounded up.</param>
    /// <returns>Events handled and remote calls run.</returns>
    /// <exception cref="InvalidOperationException">It runs already, or a handler asked for it.</exception>
    public int RunOnce(TimeSpan timeout)
    {
        TakeOver();
        int done = Turn(timeout == Timeout.InfiniteTimeSpan ? Forever : (int)Math.Min(int.MaxValue, Math.Ceiling(timeout.TotalMilliseconds)));
        _fatal?.Throw();
        return done;
    }

    private void TakeOver()
    {
        int me = Environment.CurrentManagedThreadId;
        int owner = Volatile.Read(ref _ownerThreadId);
        if (owner != me)
        {
            if (Volatile.Read(ref _running) || Interlocked.CompareExchange(ref _ownerThreadId, me, owner) != owner)
                throw new InvalidOperationException($"reactor '{Name}' is run by another thread");
        }
        ThrowIfInTurn("run the reactor that runs it");
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (_stopRequested) throw new ReactorStoppedException(Name);
    }

    private void RequestStop()
    {
        _stopRequested = true;
        _remote.Wake();
    }

    private int Turn(int timeoutMs)
    {
        _inTurn = true;
        try
        {
            int calls = _remote.RunCalls(_options.RemoteCallsPerTurnMax);
            if (timeoutMs != 0 && !_remote.TryAnnounceSleep()) timeoutMs = 0;
            ReadOnlySpan<ReadyEvent> batch = _poller.Wait(timeoutMs);
            _remote.Awake();
            _waits++;
            Dispatch(batch);
            return calls + batch.Length;
        }
        finally
        {
            _inTurn = false;
        }
    }

    // The hot path: from the kernel's answer to the handler. One load, one compare, one virtual call.
    private void Dispatch(ReadOnlySpan<ReadyEvent> batch)
    {
        _dispatching = true;
        _turn++;
        int next = 0;
        while (next < batch.Length && !_stopRequested)
        {
            try
            {
                while (next < batch.Length)
                {
                    ReadyEvent ready = batch[next++];
                    ref Slot slot = ref ThinPointer.Resolve(ready.Data);
                    if (slot.Generation != ThinPointer.GenerationOf(ready.Data))
                    {
                        DropGhost(ref slot);
                        continue;
                    }
                    if ((slot.Bits & Interest.OneShotMask) != 0) slot.Bits = DisarmedBit;
                    _currentData = ready.Data;
                    _events++;
                    slot.Target!.Dispatch(new Readiness(ready.Events), this);
                    if (_selfRemoved is not null) CloseSelf();
                }
            }
            catch (Exception exception)
            {
                Fail(exception);
            }
        }
        _currentData = 0;
        _dispatching = false;
        _slots.BatchEnded();
        if (_ghostCameBack) RebuildSet();
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
        _failures++;
        Subscription? failed = _selfRemoved ?? SlotTable.TargetOf(_currentData);
        string name = failed?.Name ?? Name;
        if (_selfRemoved is not null) CloseSelf();
        if (failed is not null)
        {
            failed.Owner?.RemoveFrom(this);
            Remove(failed);
            if (_selfRemoved is not null) CloseSelf();
        }
        Report(new HandlerFailure(name, exception));
        try
        {
            failed?.Owner?.Dispose();
        }
        catch (Exception second)
        {
            Report(new HandlerFailure(name, second));
        }
        if (_options.HandlerFailurePolicy == HandlerFailurePolicy.StopReactor) StopFor(exception);
    }

    /// <summary>A remote call threw: reported, and by policy the end of the reactor.</summary>
    internal void FailCall(RemoteCall call, Exception exception)
    {
        _failures++;
        Report(new HandlerFailure(call.GetType().Name, exception));
        if (_options.HandlerFailurePolicy == HandlerFailurePolicy.StopReactor) StopFor(exception);
    }

    internal void Report(HandlerFailure failure)
    {
        try
        {
            _options.OnHandlerFailure(failure);
        }
        catch (Exception exception)
        {
            // Whoever reports must not bring the loop down; this is the last place it can be said.
            Console.Error.WriteLine($"the report of a failed handler failed: {exception.Message} (of {failure.Source}: {failure.Exception.Message})");
        }
    }

    private void StopFor(Exception exception)
    {
        _fatal ??= ExceptionDispatchInfo.Capture(exception);
        _stopRequested = true;
    }
}
