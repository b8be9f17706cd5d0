using System.Diagnostics.CodeAnalysis;
using System.Runtime.ExceptionServices;

namespace Vmm.Events;

/// <summary>
/// A call that a blocked thread waits for, made once for each thread and used again. Its state is a set of bits. The reactor sets Started,
/// then Done; the waiter sets Asleep before it blocks, and GivenUp if it stops waiting. Of Started and GivenUp the one that is set first
/// decides whether the work is done; of Done and Asleep the one that is set second sees the other, so no wake-up is lost.
/// </summary>
[SuppressMessage("Reliability", "CA1001", Justification = "The event has nothing to release: no wait handle of it is asked for.")]
internal abstract class AwaitedCall : RemoteCall
{
    private const int Started = 1;
    private const int GivenUp = 2;
    private const int Done = 4;
    private const int Asleep = 8;

    /// <summary>
    /// Looks, about as long as a reactor that polls takes to answer, before the processor is offered to other threads at each look: the
    /// reactor may need this very one.
    /// </summary>
    private const int LooksBeforeYield = 25;

    /// <summary>Looks before the waiter sleeps: about as long as a reactor that sleeps takes to wake up and answer.</summary>
    private const int LooksMax = 65;

    private static readonly int FirstLook = Environment.ProcessorCount > 1 ? 0 : LooksBeforeYield;

    private readonly ManualResetEventSlim _awake = new(initialState: false, spinCount: 0);
    private ExceptionDispatchInfo? _failure;
    private RemoteEndpoint? _remote;
    private int _state;
    /// <summary>The processor of the waiter when it posted this.</summary>
    private int _cpu;

    /// <summary>Does the work and keeps its result. On the reactor's thread.</summary>
    protected abstract void Work(IReactor reactor);

    protected internal sealed override void Run(IReactor reactor)
    {
        if ((Interlocked.Or(ref _state, Started) & GivenUp) != 0) return;
        try
        {
            Work(reactor);
        }
        catch (Exception exception)
        {
            // The caller's exception, not the reactor's: it is thrown where the result is awaited.
            _failure = ExceptionDispatchInfo.Capture(exception);
        }
        _remote!.RanAwaitedCall(_cpu);
        Finish();
    }

    protected internal sealed override void Abandon(ReactorStoppedException reason)
    {
        _failure = ExceptionDispatchInfo.Capture(reason);
        Finish();
    }

    /// <summary>
    /// Posts the call and waits until it is done. Blocks the calling thread itself: a wait that needs a thread of the pool to end it could
    /// starve the pool. After an exception the reactor may still use the call, so it must not be posted again.
    /// </summary>
    /// <returns>What the work threw; null for nothing.</returns>
    protected ExceptionDispatchInfo? PostAndWait(RemoteEndpoint remote, TimeSpan? timeout, CancellationToken cancellation)
    {
        _remote = remote;
        _state = 0;
        _cpu = Thread.GetCurrentProcessorId();
        remote.Post(this);
        for (int look = remote.LastCpu == _cpu ? LooksBeforeYield : FirstLook; !IsDone && look < LooksMax; look++)
        {
            if (look < LooksBeforeYield) Thread.SpinWait(1);
            else Thread.Yield();
        }
        if (!IsDone) Sleep(timeout, cancellation);
        // The thread keeps the call, and no reactor that is gone with it.
        ExceptionDispatchInfo? failure = _failure;
        (_remote, _failure) = (null, null);
        return failure;
    }

    private bool IsDone => (Volatile.Read(ref _state) & Done) != 0;

    private void Sleep(TimeSpan? timeout, CancellationToken cancellation)
    {
        long deadline = timeout is { } most && most != Timeout.InfiniteTimeSpan
            ? Environment.TickCount64 + (long)Math.Ceiling(most.TotalMilliseconds) : long.MaxValue;
        _awake.Reset();
        // From here on the reactor sets the event. One that is late, of the call before, is a wake-up too many.
        bool isDone = (Interlocked.Or(ref _state, Asleep) & Done) != 0;
        while (!isDone)
        {
            long left = deadline - Environment.TickCount64;
            int wait = deadline == long.MaxValue ? Timeout.Infinite : (int)Math.Clamp(left, 0, int.MaxValue);
            try
            {
                bool isSet = _awake.Wait(wait, cancellation);
                _awake.Reset();
                isDone = IsDone;
                if (isSet || isDone) continue;
            }
            catch (OperationCanceledException) when (!IsDone)
            {
                Interlocked.Or(ref _state, GivenUp);
                throw;
            }
            catch (OperationCanceledException)
            {
                return;
            }
            Interlocked.Or(ref _state, GivenUp);
            throw new TimeoutException($"the call was not done after {timeout}");
        }
    }

    private void Finish()
    {
        if ((Interlocked.Or(ref _state, Done) & Asleep) != 0) _awake.Set();
    }
}
