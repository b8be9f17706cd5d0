using System.Diagnostics;

namespace Vmm.Events;

/// <summary>
/// How long a reactor looks for events before it blocks. The window doubles while waits end so soon that looking on would have met their
/// event, and halves when one lasted longer than the most it may look: then looking only burnt the processor.
/// </summary>
internal sealed class AdaptivePolling(TimeSpan max)
{
    /// <summary>About what waking a blocked thread costs: looking for less cannot pay.</summary>
    internal static readonly TimeSpan WindowMin = TimeSpan.FromMicroseconds(4);

    private static readonly double TicksPerSecond = Stopwatch.Frequency;
    private readonly long _max = Ticks(max);

    /// <summary>How long to look, in <see cref="Stopwatch"/> ticks.</summary>
    internal long Window { get; private set; }

    /// <summary>The same, as time.</summary>
    internal TimeSpan WindowTime => TimeSpan.FromSeconds(Window / TicksPerSecond);

    /// <summary>An event came after so many ticks, the look included, and the reactor had blocked for it.</summary>
    internal void Blocked(long ticks)
    {
        if (ticks <= Window) return;
        if (ticks <= _max) Window = Math.Min(_max, Math.Max(Ticks(WindowMin), Window * 2));
        else Window = Window / 2 < Ticks(WindowMin) ? 0 : Window / 2;
    }

    private static long Ticks(TimeSpan time) => (long)(time.TotalSeconds * TicksPerSecond);
}
