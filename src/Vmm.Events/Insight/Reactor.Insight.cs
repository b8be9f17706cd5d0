using System.Diagnostics.Tracing;
using Vmm.Events.Native;

namespace Vmm.Events;

public sealed partial class Reactor
{
    /// <summary>Null unless the options ask for it: then each event pays two looks at the clock.</summary>
    internal HandlerWatch? Watching { get; private set; }

    /// <summary>What the reactor did so far, read from any thread: each number is right, together they are a moment apart.</summary>
    internal ReactorStatistics Snapshot() => new(
        Volatile.Read(ref _waits), Volatile.Read(ref _events) - _remote.WakeUps, Volatile.Read(ref _ghosts), Volatile.Read(ref _rebuilds),
        Volatile.Read(ref _failures), _remote.CallsRun, _remote.WakeUps, Volatile.Read(ref _allocatedBytes));

    internal void ReportSlow(SlowHandler slow)
    {
        ReactorEventSource.Log.HandlerSlow(Name, slow.Source, slow.Held.TotalMilliseconds, slow.IsStillRunning);
        try
        {
            _options.OnSlowHandler(slow);
        }
        catch (Exception exception)
        {
            Report(new HandlerFailure($"the report of slow {slow.Source}", exception));
        }
    }

    /// <summary>The hot path, one event at a time with a clock beside it.</summary>
    private void DispatchWatched(HandlerWatch watch, ReadOnlySpan<ReadyEvent> batch, ref int next)
    {
        while (next < batch.Length)
        {
            watch.Switch(SlotTable.TargetOf(batch[next].Data));
            try
            {
                DispatchUntilFailure(batch[..(next + 1)], ref next);
            }
            finally
            {
                watch.Switch(null);
            }
        }
    }

    private void ReportTurn(int events, int calls)
    {
        if (ReactorMeter.BatchSize.Enabled) ReactorMeter.BatchSize.Record(events, new KeyValuePair<string, object?>("reactor", Name));
        if (ReactorEventSource.Log.IsEnabled(EventLevel.Verbose, EventKeywords.None)) ReactorEventSource.Log.Turned(Name, events, calls);
    }
}
