namespace Vmm.Events;

/// <summary>The work at the end of a reactor's turns: its tasks, its rings.</summary>
internal sealed class TurnWorkList(Reactor reactor)
{
    /// <summary>Most rounds of work before the descriptors get their turn: tasks begin operations whose completions wake tasks.</summary>
    private const int RoundsMax = 32;

    private const int WorkPerLookAtClock = 32;
    private const long NoTime = -1;

    private TurnWork[] _work = [];

    /// <summary>Whether some of it was requested.</summary>
    internal bool IsDue { get; private set; }

    /// <summary>Things done so far.</summary>
    internal long Done { get; private set; }

    /// <summary>Has what is attached run before the reactor waits next.</summary>
    internal void Request() => IsDue = true;

    /// <summary>Adds work for the end of each turn in which it is requested.</summary>
    internal void Attach(TurnWork work)
    {
        reactor.CheckUsable();
        _work = [.. _work.Append(work).OrderBy(each => each.Order)];
        work.Attached(this);
    }

    internal void Detach(TurnWork work)
    {
        reactor.CheckThread();
        _work = [.. _work.Where(each => each != work)];
        work.Attached(null);
    }

    /// <summary>The first of the attached work of a kind.</summary>
    internal T? Find<T>(Func<T, bool>? isWanted = null) where T : TurnWork
    {
        reactor.CheckThread();
        return _work.OfType<T>().FirstOrDefault(isWanted ?? (static _ => true));
    }

    /// <summary>Runs what is due; what is due again after that waits for the descriptors.</summary>
    /// <returns>Whether anything was done.</returns>
    internal bool Run()
    {
        long before = Done;
        long atLook = before;
        long startMs = NoTime;
        for (int round = 0; round < RoundsMax && IsDue && !reactor.StopRequested; round++)
        {
            IsDue = false;
            foreach (TurnWork work in _work)
            {
                reactor.Watching?.Switch(work);
                Done += work.Run();
            }
            reactor.Watching?.Switch(null);
            // Rounds of large reads take long: the bound is a few milliseconds too. A round of little does not look at the clock.
            if (Done - atLook < WorkPerLookAtClock) continue;
            atLook = Done;
            long nowMs = Environment.TickCount64;
            if (startMs == NoTime) startMs = nowMs;
            else if (nowMs != startMs) break;
        }
        return Done != before;
    }

    /// <summary>Ends what is attached, once.</summary>
    internal void End()
    {
        foreach (TurnWork work in _work)
        {
            try
            {
                work.ReactorEnding();
            }
            catch (Exception exception)
            {
                // The others end all the same.
                reactor.Report(new HandlerFailure($"the end of {work.GetType().DeclaringType?.Name}", exception));
            }
        }
    }
}
