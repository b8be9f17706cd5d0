namespace Vmm.Events;

public sealed partial class Reactor
{
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

    /// <summary>Work that stands on this reactor threw something that nobody else takes: reported, and by policy the reactor's end.</summary>
    internal void FailWork(string name, Exception exception)
    {
        _failures++;
        Report(new HandlerFailure(name, exception));
        if (_options.HandlerFailurePolicy == HandlerFailurePolicy.StopReactor) StopFor(exception);
    }

    private void RunTurnWork()
    {
        _turnWorkDue = false;
        foreach (TurnWork work in _turnWork) _turnWorkDone += work.Run();
    }

    private void DisposeTurnWork()
    {
        foreach (TurnWork work in _turnWork) work.ReactorDisposing();
    }
}
