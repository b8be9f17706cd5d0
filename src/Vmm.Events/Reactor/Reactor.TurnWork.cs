namespace Vmm.Events;

public sealed partial class Reactor
{
    /// <summary>
    /// Most rounds of turn work before the descriptors get their turn: tasks begin operations whose completions wake tasks.
    /// </summary>
    private const int TurnWorkRoundsMax = 32;

    private const int WorkPerLookAtClock = 32;
    private const long NoTime = -1;

    private TurnWork[] _turnWork = [];
    private bool _turnWorkDue;
    private long _turnWorkDone;

    /// <summary>Adds work for the end of each turn in which it is requested.</summary>
    internal void Attach(TurnWork work)
    {
        CheckUsable();
        _turnWork = [.. _turnWork.Append(work).OrderBy(each => each.Order)];
        work.Attached(this);
    }

    internal void Detach(TurnWork work)
    {
        CheckThread();
        _turnWork = [.. _turnWork.Where(each => each != work)];
        work.Attached(null);
    }

    internal void RequestTurnWork() => _turnWorkDue = true;

    /// <summary>Work on this reactor threw, and no caller handles it: it is reported and, by policy, stops the reactor.</summary>
    internal void FailWork(string name, Exception exception)
    {
        _failures++;
        Report(new HandlerFailure(name, exception));
        if (_options.HandlerFailurePolicy == HandlerFailurePolicy.StopReactor) StopFor(exception);
    }

    /// <summary>The first of the attached work of a kind.</summary>
    internal T? Find<T>(Func<T, bool>? isWanted = null) where T : TurnWork
    {
        CheckThread();
        return _turnWork.OfType<T>().FirstOrDefault(isWanted ?? (static _ => true));
    }

    /// <summary>Runs what is due; what is due again after that waits for the descriptors.</summary>
    /// <returns>Whether anything was done.</returns>
    private bool RunTurnWork()
    {
        long before = _turnWorkDone;
        long atLook = before;
        long startMs = NoTime;
        for (int round = 0; round < TurnWorkRoundsMax && _turnWorkDue && !_stopRequested; round++)
        {
            _turnWorkDue = false;
            foreach (TurnWork work in _turnWork)
            {
                Watching?.Switch(work);
                _turnWorkDone += work.Run();
            }
            Watching?.Switch(null);
            // Rounds of large reads take long: the bound is a few milliseconds too. A round of little does not look at the clock.
            if (_turnWorkDone - atLook < WorkPerLookAtClock) continue;
            atLook = _turnWorkDone;
            long nowMs = Environment.TickCount64;
            if (startMs == NoTime) startMs = nowMs;
            else if (nowMs != startMs) break;
        }
        return _turnWorkDone != before;
    }

    /// <summary>Ends what is attached, once.</summary>
    private void DisposeTurnWork()
    {
        foreach (TurnWork work in _turnWork)
        {
            try
            {
                work.ReactorEnding();
            }
            catch (Exception exception)
            {
                // The others end all the same.
                Report(new HandlerFailure($"the end of {work.GetType().DeclaringType?.Name}", exception));
            }
        }
    }
}
