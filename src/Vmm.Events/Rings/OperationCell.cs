using Vmm.Events.Tasks;

namespace Vmm.Events.Rings;

/// <summary>
/// An operation in flight and what awaits it. Reused: the generation distinguishes its lives. When its waiter leaves, what the kernel may
/// touch stays here until the completion.
/// </summary>
internal abstract class OperationCell<TResult> : RingRequest, ITaskWait
{
    private enum Stage
    {
        InFlight,
        Completed,
        GivenUp,
    }

    private Stage _stage;
    private TaskCell? _waiter;
    private Action? _outsideWaiter;
    private RingCancellation _cancellation;
    private int _raw;

    internal uint Generation { get; private set; }

    internal IoRing Ring { get; set; } = null!;

    private protected abstract TResult Finish(int result);

    private protected abstract RingCancellation GiveUp();

    private protected abstract void Return();

    internal void Begin() => _stage = Stage.InFlight;

    internal bool IsCompleted(uint generation)
    {
        Check(generation);
        return _stage == Stage.Completed;
    }

    internal bool Cancel(uint generation)
    {
        Check(generation);
        return _stage == Stage.InFlight && Ring.Cancel(this);
    }

    /// <summary>The result will not be taken: what it would give back is released.</summary>
    internal void Abandon(uint generation)
    {
        Check(generation);
        if (_waiter is not null || _outsideWaiter is not null)
            throw new InvalidOperationException("the operation is awaited: abort the task that does");
        if (_stage == Stage.Completed)
        {
            GiveUp().Release(_raw);
            Recycle();
        }
        else
        {
            LetGo();
        }
    }

    internal void Suspend(uint generation, TaskCell cell)
    {
        Check(generation);
        ThrowIfAwaited();
        _waiter = cell;
        cell.Wait = this;
    }

    internal void WhenCompleted(uint generation, Action continuation)
    {
        if (IsCompleted(generation))
        {
            continuation();
            return;
        }
        ThrowIfAwaited();
        _outsideWaiter = continuation;
    }

    internal TResult Take(uint generation)
    {
        ReactorTasks.ThrowIfAborted();
        if (!IsCompleted(generation)) throw new InvalidOperationException("the operation has not completed: await it");
        TResult result = Finish(_raw);
        Recycle();
        return result;
    }

    bool ITaskWait.GiveUp(TaskCell cell)
    {
        if (_waiter != cell || _stage != Stage.InFlight) return false;
        _waiter = null;
        LetGo();
        return true;
    }

    protected internal override void Complete(int result)
    {
        _raw = result;
        if (_stage == Stage.GivenUp)
        {
            RingCancellation kept = _cancellation;
            _cancellation = default;
            Recycle();
            kept.Release(result);
            return;
        }
        _stage = Stage.Completed;
        TaskCell? waiter = _waiter;
        Action? outside = _outsideWaiter;
        _waiter = null;
        _outsideWaiter = null;
        if (waiter is not null) waiter.Tasks.Ready(waiter);
        outside?.Invoke();
    }

    private void LetGo()
    {
        _cancellation = GiveUp();
        _stage = Stage.GivenUp;
        Generation++;
        Ring.Cancel(this);
    }

    private void Recycle()
    {
        Generation++;
        Return();
    }

    private void ThrowIfAwaited()
    {
        if (_waiter is not null || _outsideWaiter is not null) throw new InvalidOperationException("another one awaits this operation");
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Check(uint generation)
    {
        if (Generation != generation)
            throw new InvalidOperationException("this handle is stale: its operation was awaited or abandoned before");
    }
}

/// <summary>The cell of one kind of operation.</summary>
internal sealed class OperationCell<TEvent, TResult> : OperationCell<TResult> where TEvent : struct, IBuiltInEvent<TResult>
{
    private static readonly int PoolKey = OperationPools.NextKey();

    private TEvent _event;

    internal static OperationCell<TEvent, TResult> Rent(IoRing ring, in TEvent ringEvent)
    {
        ref RingRequest? pool = ref ring.Cells.Of(PoolKey);
        OperationCell<TEvent, TResult> cell = (OperationCell<TEvent, TResult>?)pool ?? new OperationCell<TEvent, TResult> { Ring = ring };
        pool = cell.NextHeld;
        cell.NextHeld = null;
        cell._event = ringEvent;
        cell.Entry = default;
        cell._event.Prepare(ref cell.Entry);
        cell.Begin();
        return cell;
    }

    private protected override TResult Finish(int result) => _event.Complete(result);

    private protected override RingCancellation GiveUp() => _event.Cancel();

    private protected override void Return()
    {
        _event = default;
        ref RingRequest? pool = ref Ring.Cells.Of(PoolKey);
        NextHeld = pool;
        pool = this;
    }
}
