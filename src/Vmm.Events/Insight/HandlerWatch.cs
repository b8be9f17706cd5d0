using System.Diagnostics;

namespace Vmm.Events;

/// <summary>
/// Measures how long each handler holds the reactor's thread, and reports one that does so for too long while it still runs. There is
/// none unless the options ask for it.
/// </summary>
internal sealed class HandlerWatch : IDisposable
{
    private const long NotHeld = 0;

    private readonly Reactor _reactor;
    private readonly TimeSpan _slowAfter;
    private readonly bool _measures;
    private readonly Timer? _timer;
    private object? _holder;
    private long _since = NotHeld;
    private long _reportedSince = NotHeld;

    private HandlerWatch(Reactor reactor, TimeSpan? slowAfter, bool measures)
    {
        _reactor = reactor;
        _slowAfter = slowAfter ?? TimeSpan.MaxValue;
        _measures = measures;
        if (slowAfter is { } period) _timer = new Timer(_ => Look(), null, period, period);
    }

    internal static HandlerWatch? For(Reactor reactor) =>
        reactor.Options is { SlowHandlerAfter: null, MeasureHandlers: false }
            ? null : new HandlerWatch(reactor, reactor.Options.SlowHandlerAfter, reactor.Options.MeasureHandlers);

    /// <summary>From now on another subscription, call, timer or work holds the thread, or none. On the reactor's thread.</summary>
    internal void Switch(object? holder)
    {
        long now = Stopwatch.GetTimestamp();
        if (_holder is { } before) Ended(before, Stopwatch.GetElapsedTime(_since, now));
        // Cleared first and set last: who reads the same time before and after the holder has read a pair.
        Volatile.Write(ref _since, NotHeld);
        Volatile.Write(ref _holder, holder);
        Volatile.Write(ref _since, holder is null ? NotHeld : now);
    }

    public void Dispose() => _timer?.Dispose();

    private void Ended(object holder, TimeSpan held)
    {
        if (_measures) ReactorMeter.HandlerTime.Record(held.TotalSeconds, new("reactor", _reactor.Name), new("handler", KindOf(holder)));
        if (held >= _slowAfter) _reactor.Report(new SlowHandler(NameOf(holder), held, IsStillRunning: false));
    }

    /// <summary>On a thread of the pool.</summary>
    private void Look()
    {
        long since = Volatile.Read(ref _since);
        object? holder = Volatile.Read(ref _holder);
        if (since == NotHeld || since == _reportedSince || holder is null || Volatile.Read(ref _since) != since) return;
        TimeSpan held = Stopwatch.GetElapsedTime(since);
        if (held < _slowAfter) return;
        _reportedSince = since;
        _reactor.Report(new SlowHandler(NameOf(holder), held, IsStillRunning: true));
    }

    private static string NameOf(object holder) => holder switch
    {
        Subscription subscription => subscription.Name,
        RemoteCall call => call.Name,
        ReactorTimer timer => timer.Name,
        _ => holder.GetType().Name,
    };

    /// <summary>The name without descriptor numbers: a measurement has few of them.</summary>
    private static string KindOf(object holder) =>
        holder is Subscription subscription ? subscription.Owner?.Name ?? subscription.Handle.GetType().Name : NameOf(holder);
}
