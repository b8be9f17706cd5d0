using System.Diagnostics.CodeAnalysis;
using System.Runtime.ExceptionServices;

namespace Vmm.Events;

/// <summary>
/// A call that a blocked thread waits for, made once for each thread and used again. The reactor sets Done; the waiter sets Asleep before
/// it blocks. The one that is set second sees the other, so no wake-up is lost.
/// </summary>
[SuppressMessage("Reliability", "CA1001", Justification = "The event has nothing to release: no wait handle of it is asked for.")]
internal sealed class AwaitedCall<T> : WaitedCall<T>
{
    private const int Done = FirstFreeBit;
    private const int Asleep = 2 * FirstFreeBit;

    /// <summary>
    /// Looks, about as long as a reactor that polls takes to answer, before the processor is offered to other threads at each look: the
    /// reactor may need this very one.
    /// </summary>
    private const int LooksBeforeYield = 25;

    /// <summary>Looks before the waiter sleeps: about as long as a reactor that sleeps takes to wake up and answer.</summary>
    private const int LooksMax = 65;

    private static readonly int FirstLook = Environment.ProcessorCount > 1 ? 0 : LooksBeforeYield;

    /// <summary>The calling thread's, while it waits for none.</summary>
    [ThreadStatic]
    private static AwaitedCall<T>? _spare;

    private readonly ManualResetEventSlim _awake = new(initialState: false, spinCount: 0);
    private T? _result;
    private ExceptionDispatchInfo? _failure;
    private RemoteEndpoint? _remote;
    /// <summary>The processor of the waiter when it posted this.</summary>
    private int _cpu;

    /// <summary>Has the reactor do some work, and waits for its result.</summary>
    /// <param name="remote">The reactor.</param>
    /// <param name="work">A <c>Func&lt;IReactor, T&gt;</c>, or an <c>Action&lt;IReactor&gt;</c>.</param>
    /// <param name="timeout">Longest wait; null waits for ever.</param>
    /// <param name="cancellation">Gives up waiting.</param>
    internal static T Do(RemoteEndpoint remote, Delegate work, TimeSpan? timeout, CancellationToken cancellation)
    {
        AwaitedCall<T> call = _spare ?? new AwaitedCall<T>();
        _spare = null;
        call.Work = work;
        call.PostAndWait(remote, timeout, cancellation);
        // The thread keeps the call, and no reactor that is gone with it.
        (T? result, ExceptionDispatchInfo? failure) = (call._result, call._failure);
        (call.Work, call._result, call._failure, call._remote) = (null, default, null, null);
        _spare = call;
        failure?.Throw();
        return result!;
    }

    protected override void Finish(T? result, Exception? failure)
    {
        _result = result;
        if (failure is not null) _failure = ExceptionDispatchInfo.Capture(failure);
        _remote!.RanAwaitedCall(_cpu);
        if ((Interlocked.Or(ref State, Done) & Asleep) != 0) _awake.Set();
    }

    /// <summary>
    /// Posts the call and waits until it is done. Blocks the calling thread itself: a wait that needs a thread of the pool to end it could
    /// starve the pool. After an exception the reactor may still use the call, so it must not be posted again.
    /// </summary>
    private void PostAndWait(RemoteEndpoint remote, TimeSpan? timeout, CancellationToken cancellation)
    {
        _remote = remote;
        State = 0;
        _cpu = Thread.GetCurrentProcessorId();
        remote.Post(this);
        for (int look = remote.LastCpu == _cpu ? LooksBeforeYield : FirstLook; !IsDone && look < LooksMax; look++)
        {
            if (look < LooksBeforeYield) Thread.SpinWait(1);
            else Thread.Yield();
        }
        if (!IsDone) Sleep(timeout, cancellation);
    }

    private bool IsDone => (Volatile.Read(ref State) & Done) != 0;

    private void Sleep(TimeSpan? timeout, CancellationToken cancellation)
    {
        long deadline = timeout is { } most && most != Timeout.InfiniteTimeSpan
            ? Environment.TickCount64 + (long)Math.Ceiling(most.TotalMilliseconds) : long.MaxValue;
        _awake.Reset();
        // From here on the reactor sets the event. One that is late, of the call before, is a wake-up too many.
        bool isDone = (Interlocked.Or(ref State, Asleep) & Done) != 0;
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
                GiveUp();
                throw;
            }
            catch (OperationCanceledException)
            {
                return;
            }
            GiveUp();
            throw new TimeoutException($"the call was not done after {timeout}");
        }
    }
}
