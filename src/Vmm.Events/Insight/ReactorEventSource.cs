using System.Diagnostics.Tracing;

namespace Vmm.Events;

/// <summary>The event source <c>Vmm-Events</c>: what happens to reactors, for dotnet-trace and its like.</summary>
[EventSource(Name = "Vmm-Events")]
internal sealed class ReactorEventSource : EventSource
{
    internal static readonly ReactorEventSource Log = new();

    private ReactorEventSource()
    {
    }

    [Event(1, Level = EventLevel.Informational, Message = "reactor {0} runs")]
    internal void RunStarted(string reactor) => WriteEvent(1, reactor);

    [Event(2, Level = EventLevel.Informational, Message = "reactor {0} has stopped")]
    internal void RunStopped(string reactor) => WriteEvent(2, reactor);

    [Event(3, Level = EventLevel.Error, Message = "reactor {0}: handler of {1} failed: {2}")]
    internal void HandlerFailed(string reactor, string source, string reason) => WriteEvent(3, reactor, source, reason);

    [Event(4, Level = EventLevel.Warning, Message = "reactor {0}: {1} holds the thread for {2} ms, still running: {3}")]
    internal void HandlerSlow(string reactor, string source, double heldMs, bool isStillRunning) =>
        WriteEvent(4, reactor, source, heldMs, isStillRunning);

    [Event(5, Level = EventLevel.Warning, Message = "reactor {0} made its set anew to heal a ghost")]
    internal void SetRebuilt(string reactor) => WriteEvent(5, reactor);

    [Event(6, Level = EventLevel.Verbose, Message = "reactor {0} handled {1} events and {2} calls")]
    internal void Turned(string reactor, int events, int calls) => WriteEvent(6, reactor, events, calls);
}
