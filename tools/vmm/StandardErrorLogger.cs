using Microsoft.Extensions.Logging;

namespace Vmm.Tool;

/// <summary>Says what happened on standard error, one line each: standard output is for what was asked for.</summary>
internal sealed class StandardErrorLogger(string prefix, LogLevel least = LogLevel.Information) : ILogger
{
    public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => logLevel >= least;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        if (IsEnabled(logLevel)) Console.Error.WriteLine(exception is null ? $"{prefix}: {formatter(state, exception)}" : $"{prefix}: {formatter(state, exception)}: {exception}");
    }
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
