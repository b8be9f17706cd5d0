using System.Diagnostics;
using Microsoft.Extensions.Logging;

namespace Vmm.Tool;

/// <summary>
/// Ends the process when it does not come to its end by itself after it was asked to: a disk that hangs must not keep it. A second request
/// ends it at once. Thread-safe.
/// </summary>
internal sealed class ExitDeadline : IDisposable
{
    /// <summary>How long requests in flight have to complete: less than service managers wait (90 s), more than a slow disk
    /// takes.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(15);

    /// <summary>Within which two requests are one: timeout(1) signals its child and then its group, and Ctrl-C at a terminal signals the
    /// processes of <c>--isolate</c>, whose starter asks them too.</summary>
    private static readonly TimeSpan SameRequest = TimeSpan.FromMilliseconds(500);

    private readonly ManualResetEventSlim _ended = new();
    private long _asked;

    /// <summary>The process was asked to end.</summary>
    internal void Start()
    {
        long now = Stopwatch.GetTimestamp(), first = Interlocked.CompareExchange(ref _asked, now, 0);
        if (first != 0)
        {
            if (Stopwatch.GetElapsedTime(first, now) > SameRequest) End("asked a second time: ends without waiting for what is in flight");
            return;
        }
        // A thread of its own: those of the runtime's pool may all wait for the disk that hangs.
        new Thread(Wait) { IsBackground = true, Name = "exit deadline" }.Start();
    }

    /// <summary>The process has come to its end.</summary>
    public void Dispose() => _ended.Set();

    private void Wait()
    {
        if (!_ended.Wait(Patience)) End($"something is still busy after {Patience.TotalSeconds} s: ends without it");
    }

    private static void End(string sentence)
    {
        StandardError.Say(LogLevel.Error, sentence);
        Environment.Exit(ExitCode.World);
    }
}
