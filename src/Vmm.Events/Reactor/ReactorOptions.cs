namespace Vmm.Events;

/// <summary>What happens when a handler throws.</summary>
public enum HandlerFailurePolicy
{
    /// <summary>The subscriber of the handler is removed and disposed, the failure is reported, the batch goes on.</summary>
    RemoveSubscriber,
    /// <summary>The reactor stops, and its run rethrows.</summary>
    StopReactor,
}

/// <summary>A handler or a remote call that threw.</summary>
/// <param name="Source">Whose it was: a subscription's name, or the kind of the call.</param>
/// <param name="Exception">What it threw.</param>
public readonly record struct HandlerFailure(string Source, Exception Exception);

/// <summary>How a reactor behaves. Read once, when the reactor is made.</summary>
public sealed record ReactorOptions
{
    /// <summary>For messages, measurements and the thread's name.</summary>
    public string Name { get; init; } = "reactor";

    /// <summary>What happens when a handler throws.</summary>
    public HandlerFailurePolicy HandlerFailurePolicy { get; init; } = HandlerFailurePolicy.RemoveSubscriber;

    /// <summary>
    /// Called for each failure of a handler, on the reactor's thread, and for each posted call that did not run because the reactor
    /// stopped, on the thread that found it. By default a line on standard error.
    /// </summary>
    public Action<HandlerFailure> OnHandlerFailure { get; init; } =
        failure => Console.Error.WriteLine($"handler of {failure.Source} failed: {failure.Exception}");

    /// <summary>What to wait with.</summary>
    public PollerKind Poller { get; init; } = PollerKind.Epoll;

    /// <summary>
    /// Longest time to look for events before blocking; zero blocks at once. Buys the latency of a wake-up with a busy processor. The time
    /// really spent adapts: it grows while events come soon after a wait began and shrinks when they do not.
    /// </summary>
    public TimeSpan PollMax { get; init; } = TimeSpan.Zero;

    /// <summary>What is done to events before they are delivered, for tests; null for nothing.</summary>
    public EventSimulation? Simulation { get; init; }

    /// <summary>
    /// Called once, when the reactor is made, with the reason if it cannot have all that was asked for. By default a line on standard
    /// error.
    /// </summary>
    public Action<string> OnFallBack { get; init; } = reason => Console.Error.WriteLine(reason);

    /// <summary>Most remote calls run between two waits (invariant I7).</summary>
    public int RemoteCallsPerTurnMax { get; init; } = 64;

    /// <summary>Most events taken by one wait. Bounds the batch, and so the memory for it: 12 bytes each.</summary>
    public int EventsPerWaitMax { get; init; } = 1024;

    /// <summary>
    /// The clock of the reactor's timers. The system's, by default, is a timer of the kernel; a test may own it
    /// (<see cref="ManualClock"/>).
    /// </summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>
    /// Reports each handler, remote call and timer that holds the thread for so long, by name, while it still does and again when it ends;
    /// null for no such report. The resolution is this time.
    /// </summary>
    public TimeSpan? SlowHandlerAfter { get; init; }

    /// <summary>
    /// Called for a slow handler: on the reactor's thread when it has ended, on another thread while it runs. By default a line on standard
    /// error.
    /// </summary>
    public Action<SlowHandler> OnSlowHandler { get; init; } = slow => Console.Error.WriteLine(
        $"{slow.Source} {(slow.IsStillRunning ? "has been holding" : "held")} the reactor's thread for "
        + $"{slow.Held.TotalMilliseconds:F0} ms");

    /// <summary>
    /// Whether the time of each handler is measured, for the histogram <c>vmm.events.handler_time</c> of the meter <c>Vmm.Events</c>.
    /// </summary>
    public bool MeasureHandlers { get; init; }

    /// <summary>The CPU, from 0, that the thread of a <see cref="ReactorThread"/> runs on; null leaves it to the scheduler.</summary>
    public int? Cpu { get; init; }

    internal void Validate()
    {
        ArgumentException.ThrowIfNullOrEmpty(Name);
        ArgumentNullException.ThrowIfNull(OnHandlerFailure);
        ArgumentNullException.ThrowIfNull(OnFallBack);
        ArgumentNullException.ThrowIfNull(TimeProvider);
        ArgumentNullException.ThrowIfNull(OnSlowHandler);
        if (SlowHandlerAfter is { } slow)
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(slow, TimeSpan.FromMilliseconds(1), nameof(SlowHandlerAfter));
            ArgumentOutOfRangeException.ThrowIfGreaterThan(slow, TimeSpan.FromDays(1), nameof(SlowHandlerAfter));
        }
        ArgumentOutOfRangeException.ThrowIfLessThan(PollMax, TimeSpan.Zero);
        Simulation?.Validate();
        if (Poller is not (PollerKind.Epoll or PollerKind.IoRing))
            throw new ArgumentOutOfRangeException(nameof(Poller), Poller, "there is no such poller");
        ArgumentOutOfRangeException.ThrowIfLessThan(RemoteCallsPerTurnMax, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(EventsPerWaitMax, 1);
        if (Cpu is not { } cpu) return;
        ArgumentOutOfRangeException.ThrowIfNegative(cpu, nameof(Cpu));
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(cpu, Libc.CpusMax, nameof(Cpu));
    }
}
