using Microsoft.Extensions.Logging;

namespace Vmm.Fuzz;

/// <summary>
/// A log that keeps the first exception: a handler that threw on a reactor of a host, which logs it and goes on. Thread-safe.
/// </summary>
internal sealed class Failures : ILoggerFactory, ILogger
{
    private Exception? _first;

    internal Exception? First => Volatile.Read(ref _first);

    public ILogger CreateLogger(string categoryName) => this;

    public void AddProvider(ILoggerProvider provider)
    {
    }

    public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => logLevel >= LogLevel.Error;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception,
        Func<TState, Exception?, string> formatter) => Interlocked.CompareExchange(ref _first, exception, null);

    public void Dispose()
    {
    }
}
