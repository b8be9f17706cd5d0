using System.Diagnostics.CodeAnalysis;
using System.Runtime.ExceptionServices;
using System.Runtime.Intrinsics.X86;

namespace Vmm.Events;

/// <summary>
/// A call that a blocked thread waits for, made once for each thread and used again. Request and answer are in one cache line, which goes
/// to the reactor and back once a call.
/// </summary>
[SuppressMessage("Reliability", "CA1001", Justification = "The event has nothing to release: no wait handle of it is asked for.")]
internal sealed class AwaitedCall<T> : AttachableCall
{
    /// <summary>
    /// Looks, about as long as a reactor that polls takes to answer, before the processor is offered to other threads at each look: the
    /// reactor may need this very one.
    /// </summary>
    private const int LooksBeforeYield = 60;

    /// <summary>Looks before the waiter sleeps: about as long as a reactor that sleeps takes to wake up and answer.</summary>
    private const int LooksMax = LooksBeforeYield + 40;

    private static readonly int FirstLook = Environment.ProcessorCount > 1 ? 0 : LooksBeforeYield;

    /// <summary>The calling thread's; null while the reactor may still use the last one.</summary>
    [ThreadStatic]
    private static AwaitedCall<T>? _spare;

    private readonly ManualResetEventSlim _awake = new(initialState: false, spinCount: 0);
    private readonly Cell[] _cells = GC.AllocateArray<Cell>(CacheLine.RoomFor<Cell>(), pinned: true);
    private readonly int _at;
    private ExceptionDispatchInfo? _failure;

    private AwaitedCall() => _at = CacheLine.IndexOfWhole(_cells);

    private protected override ref long State => ref _cells[_at].State;

    /// <summary>
    /// Has the reactor do some work, a <c>Func&lt;IReactor, T&gt;</c> or an <c>Action&lt;IReactor&gt;</c>, and waits for its result.
    /// </summary>
    internal static T Do(RemoteEndpoint remote, Delegate work, TimeSpan? timeout, CancellationToken cancellation)
    {
        AwaitedCall<T> call = _spare ??= new AwaitedCall<T>();
        ref Cell cell = ref call._cells[call._at];
        long withdrawable = timeout is null && !cancellation.CanBeCanceled ? 0 : Withdrawable;
        if (!call.TryPostAttached(remote, work, withdrawable))
        {
            remote.ThrowIfInVain();
            cell.Work = work;
            cell.State = withdrawable;
            call.QueuedIn = remote;
            if (!remote.TryPush(call)) call.Abandon(new ReactorStoppedException(remote.ReactorName));
        }
        call.Wait(remote, timeout, cancellation);
        T? result = cell.Result;
        // The thread keeps the call, and nothing of what the work gave.
        if (RuntimeHelpers.IsReferenceOrContainsReferences<T>()) cell.Result = default;
        if (call._failure is not { } failure) return result!;
        call._failure = null;
        failure.Throw();
        return default!;
    }

    protected internal override void Run(IReactor reactor)
    {
        ref Cell cell = ref _cells[_at];
        long seen = Volatile.Read(ref cell.State);
        if ((seen & Withdrawable) != 0 && (Interlocked.Or(ref cell.State, Started) & GivenUp) != 0) return;
        Delegate work = cell.Work!;
        T? result = default;
        try
        {
            if (work is Func<IReactor, T> function) result = function(reactor);
            else ((Action<IReactor>)work)(reactor);
        }
        catch (Exception exception)
        {
            // The caller's exception, not the reactor's: it is thrown where the result is awaited.
            _failure = ExceptionDispatchInfo.Capture(exception);
        }
        long word = (seen & EndpointBits) | Done;
        if (QueuedIn is { } queue)
        {
            QueuedIn = null;
            word = AnsweredBy(queue.TryAttach(this));
        }
        // Nothing was written so far if the call is not withdrawable: the caller, which looks, takes the line away once only.
        cell.Work = null;
        cell.Result = result;
        Answer(word);
    }

    protected internal override void Abandon(ReactorStoppedException reason)
    {
        _cells[_at].Work = null;
        QueuedIn = null;
        _failure = ExceptionDispatchInfo.Capture(reason);
        Answer(AnsweredBy(0));
    }

    private bool IsDone => (Volatile.Read(ref State) & Done) != 0;

    /// <summary>Posts it in its word, if the reactor looks there.</summary>
    private bool TryPostAttached(RemoteEndpoint remote, Delegate work, long withdrawable)
    {
        ref Cell cell = ref _cells[_at];
        long answered = remote.AnsweredWord;
        if (cell.State != answered) return false;
        cell.Work = work;
        if (Interlocked.CompareExchange(ref cell.State, remote.PostedWord | withdrawable, answered) != answered) return false;
        remote.PostedAttached();
        return true;
    }

    /// <summary>From here on the call is the waiter's.</summary>
    private void Answer(long word)
    {
        if ((Interlocked.Exchange(ref _cells[_at].State, word) & Asleep) != 0) _awake.Set();
    }

    /// <summary>Blocks the calling thread itself: a wait that needs a thread of the pool to end it could starve the pool.</summary>
    private void Wait(RemoteEndpoint remote, TimeSpan? timeout, CancellationToken cancellation)
    {
        int look = FirstLook;
        if (remote.LastCpu == Thread.GetCurrentProcessorId())
        {
            remote.WaiterNeedsThisCpu = true;
            look = LooksBeforeYield;
        }
        for (; !IsDone && look < LooksMax; look++)
        {
            if (look < LooksBeforeYield) X86Base.Pause();
            else Thread.Yield();
        }
        if (IsDone) return;
        remote.StopIfAbandoned();
        // After an exception the reactor may still use the call, so it must not be posted again.
        _spare = null;
        Sleep(timeout, cancellation);
        _spare = this;
    }

    private void Sleep(TimeSpan? timeout, CancellationToken cancellation)
    {
        long deadline = timeout is { } most && most != Timeout.InfiniteTimeSpan
            ? Environment.TickCount64 + (long)Math.Ceiling(most.TotalMilliseconds) : long.MaxValue;
        _awake.Reset();
        // From here on the reactor sets the event. One that is late, of the call before, is a wake-up too many.
        if (!TryFallAsleep()) return;
        while (!IsDone)
        {
            long left = deadline - Environment.TickCount64;
            int wait = deadline == long.MaxValue ? Timeout.Infinite : (int)Math.Clamp(left, 0, int.MaxValue);
            try
            {
                bool isSet = _awake.Wait(wait, cancellation);
                _awake.Reset();
                if (isSet || IsDone) continue;
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

    private bool TryFallAsleep()
    {
        ref long state = ref State;
        while (true)
        {
            long seen = Volatile.Read(ref state);
            if ((seen & Done) != 0) return false;
            if (Interlocked.CompareExchange(ref state, seen | Asleep, seen) == seen) return true;
        }
    }

    /// <summary>The caller waits no longer: a call that has not started never does.</summary>
    private void GiveUp() => Interlocked.Or(ref State, GivenUp);

    /// <summary>What goes to the reactor and back.</summary>
    private struct Cell
    {
        internal long State;
        internal Delegate? Work;
        internal T? Result;
    }
}
