using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// Tries something again until it succeeds: after 0.1 s, then ever less often, every 10 s at last, which wakes no machine up. On one
/// reactor's thread.
/// </summary>
internal sealed class RetryTimer
{
    /// <summary>The first wait. Each wait doubles until <see cref="Succeeded"/>.</summary>
    internal static readonly TimeSpan First = TimeSpan.FromMilliseconds(100);

    /// <summary>The longest wait.</summary>
    internal static readonly TimeSpan Max = TimeSpan.FromSeconds(10);

    private readonly ReactorTimer _timer;
    private TimeSpan _next = First;

    /// <param name="reactor">Call on its thread.</param>
    /// <param name="name">For messages and measurements.</param>
    /// <param name="attempt">Whether it has succeeded.</param>
    internal RetryTimer(IReactor reactor, string name, Func<bool> attempt) =>
        _timer = ReactorTimers.Of(reactor).Create((_, _) =>
        {
            if (!attempt()) Await();
        }, name);

    /// <summary>Tries after a while.</summary>
    internal void Await()
    {
        _timer.Arm(_next);
        _next = TimeSpan.FromTicks(Math.Min(2 * _next.Ticks, Max.Ticks));
    }

    /// <summary>It works: the next wait is the first again.</summary>
    internal void Succeeded() => _next = First;

    internal void Cancel() => _timer.Cancel();
}
