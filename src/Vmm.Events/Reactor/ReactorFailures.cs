using System.Runtime.ExceptionServices;

namespace Vmm.Events;

/// <summary>What failed on a reactor's thread: counted, reported, and by policy the end of the reactor.</summary>
internal sealed class ReactorFailures(ReactorOptions options)
{
    private ExceptionDispatchInfo? _fatal;
    private long _count;

    /// <summary>Failures so far. Any thread.</summary>
    internal long Count => Volatile.Read(ref _count);

    /// <summary>Counts and reports a failure.</summary>
    /// <returns>Whether the reactor is to stop for it.</returns>
    internal bool Add(string source, Exception exception)
    {
        _count++;
        Report(new HandlerFailure(source, exception));
        if (options.HandlerFailurePolicy != HandlerFailurePolicy.StopReactor) return false;
        _fatal ??= ExceptionDispatchInfo.Capture(exception);
        return true;
    }

    /// <summary>Throws what the reactor stopped for.</summary>
    internal void ThrowIfFatal() => _fatal?.Throw();

    /// <summary>Any thread.</summary>
    internal void Report(HandlerFailure failure)
    {
        ReactorEventSource.Log.HandlerFailed(options.Name, failure.Source, failure.Exception.Message);
        try
        {
            options.OnHandlerFailure(failure);
        }
        catch (Exception exception)
        {
            // A report that fails must not stop the loop. Standard error is the last place for it.
            Console.Error.WriteLine(
                $"the report of a failed handler failed: {exception.Message} (of {failure.Source}: {failure.Exception.Message})");
        }
    }

    /// <summary>Any thread.</summary>
    internal void Report(SlowHandler slow)
    {
        ReactorEventSource.Log.HandlerSlow(options.Name, slow.Source, slow.Held.TotalMilliseconds, slow.IsStillRunning);
        try
        {
            options.OnSlowHandler(slow);
        }
        catch (Exception exception)
        {
            Report(new HandlerFailure($"the report of slow {slow.Source}", exception));
        }
    }
}
