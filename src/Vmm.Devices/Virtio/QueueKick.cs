using System.Diagnostics.CodeAnalysis;
using System.Runtime.ExceptionServices;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// What the driver of a running queue rings: kick → worker, one virtual call. The driver's eventfd may be shared with a process that makes
/// it block or empties it, so it is only ever waited for: later turns of the queue are asked of the reactor. While a reactor polls, kicks
/// stay off, and it looks at the ring.
/// </summary>
internal sealed class QueueKick(QueueContext context, EventFd kick) : Subscription<EventFd>(kick, Interest.Kick), IPolledSource
{
    private readonly VirtQueue _queue = context.Queue;
    private readonly TurnBudget _turn = context.Turn;
    private ExceptionDispatchInfo? _failure;
    private bool _isServing;

    /// <summary>The queue ran dry, and its driver was not asked to kick for the next chain.</summary>
    private bool _kicksStayOff;

    /// <summary>Set once the worker is made, before the first kick is handled.</summary>
    internal QueueWorker? Worker { get; set; }

    /// <summary>Whether the worker threw: it is not called any more.</summary>
    internal bool HasFailed { get; set; }

    public override string Name => context.Name;

    public bool HasWork => _kicksStayOff && _queue.HasAvailable;

    public bool StopLooking()
    {
        if (!_kicksStayOff) return false;
        _kicksStayOff = _queue.EnableKicks();
        return _kicksStayOff;
    }

    /// <summary>Has the reactor watch it.</summary>
    internal void Start()
    {
        try
        {
            RegisterInto(context.Reactor);
        }
        catch
        {
            Fd.Dispose();
            throw;
        }
        _queue.OnRoom = ServeLater;
    }

    /// <summary>Stops watching it.</summary>
    internal void Stop()
    {
        _queue.OnRoom = null;
        context.Reactor.Remove(this);
    }

    /// <summary>Serves the queue in the next turn, after the others had theirs. Nothing if a bug took it from the reactor.</summary>
    internal void ServeLater()
    {
        if (IsRegistered) context.Reactor.DispatchAgain(this);
    }

    /// <summary>
    /// Serves the queue for something that happened on the host side. Whose handler this runs in is not to blame if the worker throws: the
    /// failure is thrown again from the queue's own handler.
    /// </summary>
    [SuppressMessage("Design", "CA1031:Do not catch general exception types",
        Justification = "It is thrown again by the queue's own handler.")]
    internal void ServeFromHost()
    {
        if (HasFailed || Worker is null) return;
        if (_isServing)
        {
            ServeLater();
            return;
        }
        try
        {
            Serve();
        }
        catch (Exception failure)
        {
            GiveUp();
            _failure = ExceptionDispatchInfo.Capture(failure);
            ServeLater();
        }
    }

    protected override void Dispatch(Readiness ready, IReactor reactor)
    {
        if (!ready.IsReadable) _failure?.Throw();
        else if (!_kicksStayOff) _queue.CountKick();
        ServeOrGiveUp();
    }

    /// <summary>Serves the queue from one of its own handlers.</summary>
    internal void ServeOrGiveUp()
    {
        if (HasFailed) return;
        try
        {
            Serve();
        }
        catch
        {
            GiveUp();
            throw;
        }
    }

    /// <summary>Serves the queue until it is empty or its turn is over, with kicks switched off meanwhile.</summary>
    private void Serve()
    {
        VirtQueue queue = _queue;
        TurnBudget turn = _turn;
        _isServing = true;
        turn.Begin();
        if (turn.TakeHeld() is { Ticks: > 0 } held) queue.CountThrottled(held);
        bool more;
        do
        {
            queue.DisableKicks();
            int left = turn.ChainsLeft;
            queue.HasRunDry = false;
            Worker!.Serve();
            queue.Publish();
            if (turn.HeldFor > TimeSpan.Zero)
            {
                // No token is left. Kicks stay off: the timer serves the queue, and what came meanwhile.
                _kicksStayOff = false;
                more = false;
                break;
            }
            // A worker that took nothing although there was something waits for its host side; asking it again at once would spin. One
            // that found nothing has not seen what came meanwhile, and for that no kick will come.
            _kicksStayOff = IsPolled && queue.HasRunDry;
            more = _kicksStayOff ? queue.HasAvailable : queue.EnableKicks() && (turn.ChainsLeft != left || queue.HasRunDry);
        }
        while (more && !turn.IsSpent);
        turn.End();
        _isServing = false;
        if (more) ServeLater();
        else if (turn.HeldFor > TimeSpan.Zero) context.AwaitTokens(turn.HeldFor);
    }

    /// <summary>A bug of the device. The reactor reports it and drops this queue; the driver must not wait for it in silence.</summary>
    private void GiveUp()
    {
        HasFailed = true;
        context.Driver.Interrupt.SignalNeedsReset();
    }
}
