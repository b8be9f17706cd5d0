using System.Diagnostics;
using Microsoft.Extensions.Logging;

namespace Vmm.Tool;

/// <summary>
/// Says what happened on standard error, one line each. A line that is the same as the one before, within a second, is counted instead.
/// </summary>
internal sealed class StandardErrorLogger(LogLevel least = LogLevel.Information) : ILoggerFactory
{
    private volatile LogLevel _least = least;

    private static readonly TimeSpan RepeatTime = TimeSpan.FromSeconds(1);

    private readonly Lock _lock = new();
    private LogEntry? _last;
    private long _lastAt;
    private int _repeats;

    /// <summary>What is printed at the least. It may be changed at any time.</summary>
    internal LogLevel Least
    {
        get => _least;
        set => _least = value;
    }

    /// <summary>Gets what is logged as events, whatever is printed.</summary>
    internal EventHub Events { get; } = new();

    public ILogger CreateLogger(string categoryName) => new CategoryLogger(this, categoryName);

    public void AddProvider(ILoggerProvider provider) => throw new NotSupportedException("standard error is the only place for messages");

    public void Dispose()
    {
    }

    /// <summary>Something happened that is no line of the log.</summary>
    internal void Happened(EventId kind, string sentence)
    {
        if (Events.HasReaders) Publish(new LogEntry(LogLevel.Information, sentence) { Event = kind.Name });
    }

    private bool IsPrinted(LogLevel level) => level >= Least && level != LogLevel.None;

    private bool IsEvent(LogLevel level) => level is >= LogLevel.Information and < LogLevel.None && Events.HasReaders;

    private void Log(LogEntry entry)
    {
        if (IsEvent(entry.Level)) Publish(entry);
        if (!IsPrinted(entry.Level)) return;
        lock (_lock)
        {
            long now = Stopwatch.GetTimestamp();
            if (_last is not null && entry with { Time = _last.Time } == _last && Stopwatch.GetElapsedTime(_lastAt, now) < RepeatTime)
            {
                _repeats++;
                return;
            }
            if (_repeats > 0)
            {
                string repeated = $"the line before came {_repeats} more times";
                StandardError.Write(_last! with { Time = entry.Time, Message = repeated, Exception = null });
            }
            StandardError.Write(entry);
            (_last, _lastAt, _repeats) = (entry, now, 0);
        }
    }

    private void Publish(LogEntry entry) => Events.Publish(new ApiEvent
    {
        Time = entry.Time,
        Level = LogFormat.NameOf(entry.Level),
        Kind = entry.Event ?? "log",
        Device = entry.Device,
        Message = entry.Message,
    });

    /// <summary>Logs for one part of the program.</summary>
    private sealed class CategoryLogger(StandardErrorLogger log, string category) : ILogger
    {
        public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => log.IsPrinted(logLevel) || log.IsEvent(logLevel);

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception,
            Func<TState, Exception?, string> formatter)
        {
            if (!IsEnabled(logLevel)) return;
            log.Log(new LogEntry(logLevel, formatter(state, exception))
            {
                Category = category,
                Event = eventId.Name,
                Device = DeviceIn(state),
                Exception = exception?.ToString(),
            });
        }

        private static string? DeviceIn<TState>(TState state) =>
            (state as IReadOnlyList<KeyValuePair<string, object?>>)?.FirstOrDefault(part => part.Key == "Device").Value as string;
    }
}
