using System.Diagnostics;
using Microsoft.Extensions.Logging;

namespace Vmm.Tool;

/// <summary>
/// Says what happened on standard error, one line each: standard output is for what was asked for. A line that is the same as the one
/// before, within a second, is counted instead.
/// </summary>
internal sealed class StandardErrorLogger(string prefix, LogLevel least = LogLevel.Information) : ILogger
{
    private volatile LogLevel _least = least;

    private static readonly TimeSpan RepeatTime = TimeSpan.FromSeconds(1);

    private readonly Lock _lock = new();
    private string? _last;
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

    public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => IsPrinted(logLevel) || IsEvent(logLevel);

    private bool IsPrinted(LogLevel level) => level >= Least && level != LogLevel.None;

    private bool IsEvent(LogLevel level) => level is >= LogLevel.Information and < LogLevel.None && Events.HasReaders;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception,
        Func<TState, Exception?, string> formatter)
    {
        if (!IsEnabled(logLevel)) return;
        string sentence = formatter(state, exception);
        if (IsEvent(logLevel)) Events.Publish(EventOf(logLevel, eventId, state, sentence));
        if (!IsPrinted(logLevel)) return;
        string line = exception is null ? $"{prefix}: {sentence}" : $"{prefix}: {sentence}: {exception}";
        lock (_lock)
        {
            long now = Stopwatch.GetTimestamp();
            if (line == _last && Stopwatch.GetElapsedTime(_lastAt, now) < RepeatTime)
            {
                _repeats++;
                return;
            }
            if (_repeats > 0) Console.Error.WriteLine($"{prefix}: the line before came {_repeats} more times");
            Console.Error.WriteLine(line);
            (_last, _lastAt, _repeats) = (line, now, 0);
        }
    }

    /// <summary>Something happened that is no line of the log.</summary>
    internal void Happened(EventId kind, string sentence)
    {
        if (Events.HasReaders) Events.Publish(EventOf(LogLevel.Information, kind, sentence, sentence));
    }

    private static ApiEvent EventOf<TState>(LogLevel level, EventId kind, TState state, string sentence) => new()
    {
        Time = DateTimeOffset.UtcNow,
        Level = level.ToString().ToLowerInvariant(),
        Kind = kind.Name ?? "log",
        Device = (state as IReadOnlyList<KeyValuePair<string, object?>>)?.FirstOrDefault(part => part.Key == "Device").Value as string,
        Message = sentence,
    };
}

/// <summary>Has everybody say it there.</summary>
internal sealed class StandardErrorLogging(StandardErrorLogger logger) : ILoggerFactory
{
    public ILogger CreateLogger(string categoryName) => logger;

    public void AddProvider(ILoggerProvider provider) => throw new NotSupportedException("standard error is the only place for messages");

    public void Dispose()
    {
    }
}
