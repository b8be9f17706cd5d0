namespace Vmm.Events.Tasks;

/// <summary>One task's timer, made with its first delay and kept for the next.</summary>
internal sealed class DelayEntry(ReactorTimers timers, TaskCell cell) : ReactorTimer(timers, "a delay"), ITaskWait
{
    public bool GiveUp(TaskCell ofCell) => Cancel();

    protected internal override void Expired(IReactor reactor) => cell.Tasks.Ready(cell);
}
