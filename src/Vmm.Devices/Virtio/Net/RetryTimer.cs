using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// Repeats an attempt until it succeeds. The first wait is 0.1 s; each wait is twice the one before, up to 10 s, so that an idle machine
/// stays idle. Used on one reactor's thread.
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
    /// <param name="attempt">Makes one attempt, and returns whether it succeeded.</param>
    internal RetryTimer(IReactor reactor, string name, Func<bool> attempt) =>
        _timer = ReactorTimers.Of(reactor).Create((_, _) =>
        {
            if (!attempt()) Await();
        }, name);

    /// <summary>Starts the next wait; the attempt follows.</summary>
    internal void Await()
    {
        _timer.Arm(_next);
        _next = TimeSpan.FromTicks(Math.Min(2 * _next.Ticks, Max.Ticks));
    }

    /// <summary>The attempt succeeded: the next wait is 0.1 s again.</summary>
    internal void Succeeded() => _next = First;

    internal void Cancel() => _timer.Cancel();
}
