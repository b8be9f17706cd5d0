using System.Collections.Concurrent;
using System.Diagnostics.Tracing;
using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests;

/// <summary>A listener is heard by every reactor of the process: no other test runs beside this.</summary>
[Collection(Alone.Name)]
public sealed class ReactorEventSourceTests : ReactorSuite
{
    [Fact]
    public void The_event_source_tells_the_story_of_a_reactor()
    {
        using Listener listener = new();
        WatchRaised((_, _) => throw new InvalidDataException("broken"));
        Turn();
        Reactor.Run(new CancellationToken(canceled: true));
        string[] names = [.. listener.Events.Where(each => (string?)each.Payload![0] == "test").Select(each => each.EventName!)];
        Assert.Equal(["HandlerFailed", "Turned", "RunStarted", "RunStopped"], names);
        EventWrittenEventArgs failed = listener.Events.First(each => each.EventName == "HandlerFailed");
        Assert.Equal("broken", failed.Payload![2]);
    }

    [Fact]
    public void The_event_source_is_well_formed()
    {
        Assert.Null(ReactorEventSource.Log.ConstructionException);
        Assert.NotNull(EventSource.GenerateManifest(typeof(ReactorEventSource), null, EventManifestOptions.Strict | EventManifestOptions.AllowEventSourceOverride));
    }

    private sealed class Listener : EventListener
    {
        internal ConcurrentQueue<EventWrittenEventArgs> Events { get; } = [];

        protected override void OnEventSourceCreated(EventSource eventSource)
        {
            if (eventSource.Name == "Vmm-Events") EnableEvents(eventSource, EventLevel.Verbose);
        }

        protected override void OnEventWritten(EventWrittenEventArgs eventData) => Events?.Enqueue(eventData);
    }
}
