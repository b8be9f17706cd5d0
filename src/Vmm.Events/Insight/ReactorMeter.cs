using System.Diagnostics.Metrics;

namespace Vmm.Events;

/// <summary>
/// The meter <c>Vmm.Events</c> (System.Diagnostics.Metrics). Its counters are read from the reactors when a listener collects: without one
/// they cost nothing, and a collection costs the reactor nothing. Each measurement has the tag <c>reactor</c>.
/// </summary>
internal static class ReactorMeter
{
    internal const string Name = "Vmm.Events";

    private static readonly Meter Meter = new(Name);

    /// <summary>The reactors that are not disposed. One that is forgotten undisposed is not kept alive.</summary>
    private static readonly ConditionalWeakTable<Reactor, object> Reactors = [];

    internal static readonly Histogram<int> BatchSize = Meter.CreateHistogram<int>(
        "vmm.events.batch_size", "{event}", "Events that one wait reported.");

    internal static readonly Histogram<double> HandlerTime = Meter.CreateHistogram<double>(
        "vmm.events.handler_time", "s", "Time a handler held the reactor's thread; measured only by reactors that are asked to.");

    static ReactorMeter()
    {
        Count("vmm.events.waits", "{wait}", "Calls into the kernel to wait.", each => each.Waits);
        Count("vmm.events.events", "{event}", "Events handed to handlers.", each => each.Events);
        Count("vmm.events.ghosts", "{event}", "Events of a slot that was retired meanwhile.", each => each.Ghosts);
        Count("vmm.events.rebuilds", "{rebuild}", "Times the epoll set was made anew to heal a ghost.", each => each.Rebuilds);
        Count("vmm.events.handler_failures", "{failure}", "Handlers, remote calls and timers that threw.", each => each.HandlerFailures);
        Count("vmm.events.remote_calls", "{call}", "Remote calls and doorbells run.", each => each.RemoteCalls);
        Count("vmm.events.wake_ups", "{wake-up}", "Times another thread woke the reactor by its eventfd.", each => each.WakeUps);
        Count("vmm.events.coalesced_wake_ups", "{wake-up}", "Remote calls that found the reactor awake, or shared a wake-up.",
            each => each.CoalescedWakeUps);
    }

    internal static void Add(Reactor reactor) => Reactors.Add(reactor, reactor.Name);

    internal static void Remove(Reactor reactor) => Reactors.Remove(reactor);

    private static void Count(string name, string unit, string description, Func<ReactorStatistics, long> value) =>
        Meter.CreateObservableCounter(name, () => Measure(value), unit, description);

    private static IEnumerable<Measurement<long>> Measure(Func<ReactorStatistics, long> value)
    {
        foreach ((Reactor reactor, _) in Reactors)
            yield return new Measurement<long>(value(reactor.Snapshot()), new KeyValuePair<string, object?>("reactor", reactor.Name));
    }
}
