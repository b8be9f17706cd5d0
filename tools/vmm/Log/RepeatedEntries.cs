namespace Vmm.Tool;

/// <summary>An entry that is the same as the one before, within a second, is counted instead of written. Thread-safe.</summary>
/// <param name="write">Gets what is written, from one thread at a time.</param>
/// <param name="clock">Says when a second is over.</param>
internal sealed class RepeatedEntries(Action<LogEntry> write, TimeProvider clock)
{
    private static readonly TimeSpan RepeatTime = TimeSpan.FromSeconds(1);

    private readonly Lock _lock = new();
    private LogEntry? _last;
    private long _lastAt;
    private int _repeats;

    /// <summary>Writes or counts an entry.</summary>
    internal void Add(LogEntry entry)
    {
        lock (_lock)
        {
            long now = clock.GetTimestamp();
            if (_last is not null && entry with { Time = _last.Time } == _last && clock.GetElapsedTime(_lastAt, now) < RepeatTime)
            {
                _repeats++;
                return;
            }
            if (_repeats > 0)
            {
                string repeated = $"the line before came {_repeats} more times";
                write(_last! with { Time = entry.Time, Message = repeated, Exception = null });
            }
            write(entry);
            (_last, _lastAt, _repeats) = (entry, now, 0);
        }
    }
}
