using System.Diagnostics.Metrics;
using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests;

/// <summary>A listener is heard by every reactor of the process: no other test runs beside these.</summary>
[Collection(Alone.Name)]
public sealed class ReactorMeterTests : ReactorSuite
{
    private readonly Dictionary<string, double> _sums = [];
    private readonly List<string> _handlers = [];
    private readonly MeterListener _listener = new();

    protected override ReactorOptions Options => base.Options with { Name = "metered" };

    [Fact]
    public void The_counters_tell_what_the_reactor_did()
    {
        Listen();
        WatchRaised((_, _) => { });
        WatchRaised((_, _) => throw new InvalidDataException());
        Reactor.Remote.Post(_ => { });
        Turn();
        Turn();
        _listener.RecordObservableInstruments();
        Assert.Equal(2, _sums["vmm.events.waits"]);
        Assert.Equal(3, _sums["vmm.events.events"]);
        Assert.Equal(0, _sums["vmm.events.ghosts"]);
        Assert.Equal(1, _sums["vmm.events.handler_failures"]);
        Assert.Equal(1, _sums["vmm.events.remote_calls"]);
        Assert.Equal(1, _sums["vmm.events.coalesced_wake_ups"]);
        Assert.Equal(3, _sums["vmm.events.batch_size"]);
        Assert.Equal(0, _sums["vmm.events.wake_ups"]);
    }

    [Fact]
    public void A_disposed_reactor_is_measured_no_more()
    {
        Reactor.Dispose();
        Listen();
        _listener.RecordObservableInstruments();
        Assert.Empty(_sums);
    }

    [Fact]
    public void The_time_in_handlers_is_measured_when_asked_for_and_under_their_names()
    {
        Configure(options => options with { MeasureHandlers = true });
        Listen();
        Subscriber device = new("vda");
        Interest.Kick.WithFd(new EventFd(initial: 1)).WithHandler(_ => { }).OwnedBy(device).RegisterInto(Reactor);
        Interest.Kick.WithFd(new EventFd(initial: 1)).WithHandler(_ => throw new InvalidDataException()).RegisterInto(Reactor);
        Reactor.Timers.Create((_, _) => { }, "the timer").Arm(TimeSpan.Zero);
        Reactor.Remote.Post(_ => { });
        while (_handlers.Count < 5) Reactor.RunOnce(Patience);
        Assert.Equal(["EventFd", "TimerFd", "a posted call", "the timer", "vda"], _handlers.Order(StringComparer.Ordinal));
    }

    [Fact]
    public void A_reactor_that_is_not_asked_measures_no_handler()
    {
        Listen();
        WatchRaised((_, _) => { });
        Turn();
        Assert.Null(Reactor.Watching);
        Assert.Empty(_handlers);
    }

    [Fact]
    public void Measuring_and_being_listened_to_allocate_nothing_in_an_event()
    {
        Configure(options => options with { MeasureHandlers = true, SlowHandlerAfter = TimeSpan.FromHours(1) });
        WatchRaised((_, _) => { });
        SteadyState.AllocatesNothing(() =>
        {
            for (int i = 0; i < 1000; i++) Turn();
        });
    }

    public override void Dispose()
    {
        _listener.Dispose();
        base.Dispose();
    }

    private void Listen()
    {
        _listener.InstrumentPublished = (instrument, listener) =>
        {
            if (instrument.Meter.Name == "Vmm.Events") listener.EnableMeasurementEvents(instrument);
        };
        _listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) => Note(instrument, value, tags));
        _listener.SetMeasurementEventCallback<int>((instrument, value, tags, _) => Note(instrument, value, tags));
        _listener.SetMeasurementEventCallback<double>((instrument, value, tags, _) =>
        {
            Note(instrument, value, tags);
            _handlers.Add((string)tags[1].Value!);
        });
        _listener.Start();
    }

    private void Note(Instrument instrument, double value, ReadOnlySpan<KeyValuePair<string, object?>> tags)
    {
        if (tags[0] is { Key: "reactor", Value: "metered" }) _sums[instrument.Name] = _sums.GetValueOrDefault(instrument.Name) + value;
    }
}
