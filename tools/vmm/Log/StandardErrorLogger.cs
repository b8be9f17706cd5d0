using Microsoft.Extensions.Logging;

namespace Vmm.Tool;

/// <summary>Says what happened on standard error, one line each, without repeating itself (<see cref="RepeatedEntries"/>).</summary>
internal sealed class StandardErrorLogger(LogLevel least = LogLevel.Information) : ILoggerFactory
{
    private volatile LogLevel _least = least;

    private readonly RepeatedEntries _printed = new(StandardError.Write, TimeProvider.System);

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
        if (IsPrinted(entry.Level)) _printed.Add(entry);
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
