namespace Vmm.Tool;

/// <summary>
/// Reports to the service manager, until it is disposed, that the reactors answer. Costs nothing where no service manager asks for that.
/// </summary>
internal sealed class ServiceWatchdog : IDisposable
{
    private readonly ManualResetEventSlim _stop = new();

    /// <param name="isAlive">Whether all answer within a time.</param>
    internal ServiceWatchdog(Func<TimeSpan, bool> isAlive)
    {
        TimeSpan period = ServiceNotification.WatchdogPeriod;
        if (period == Timeout.InfiniteTimeSpan) return;
        new Thread(() =>
        {
            while (!_stop.Wait(period))
            {
                if (isAlive(period)) ServiceNotification.Alive();
            }
        })
        { IsBackground = true, Name = "watchdog" }.Start();
    }

    // The thread is not waited for: it may wait for a reactor that hangs.
    public void Dispose() => _stop.Set();
}
