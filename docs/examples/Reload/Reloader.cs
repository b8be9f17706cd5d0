using Vmm.Events;

namespace Vmm.Examples.Reload;

/// <summary>
/// Loads something again, on a reactor's thread, when any thread or process asks for it: a signal handler, an operator's command, a child
/// that inherited the
/// descriptor. Any number of requests before the reload are one; one that comes while it runs is one more.
/// </summary>
/// <param name="load">Loads it. On the reactor's thread.</param>
public sealed class Reloader(Action<IReactor> load) : IDisposable
{
    private readonly Notifier _notifier = new();

    /// <summary>How often it was loaded.</summary>
    public int Loads { get; private set; }

    /// <summary>What to write to from another process: eight bytes, a number above zero.</summary>
    public EventFd Fd => _notifier.Fd;

    /// <summary>Begins to wait for requests; one from before is not lost. On the reactor's thread.</summary>
    public void Start(IReactor reactor) => _notifier.Wait(reactor, Reload);

    /// <summary>Asks for a reload. Any thread.</summary>
    /// <returns>False if nothing waits for it any more.</returns>
    public bool Request() => _notifier.Notify();

    /// <summary>Stops waiting. On the reactor's thread.</summary>
    public void Dispose() => _notifier.Dispose();

    private NotifyAction Reload(IReactor reactor)
    {
        load(reactor);
        Loads++;
        return NotifyAction.Rearm;
    }
}
