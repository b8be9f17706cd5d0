using Microsoft.Extensions.Logging;

namespace Vmm.Devices;

/// <summary>
/// A logger that never throws: a handler that failed because its log could not be written would lose its descriptors, and with them a
/// listener or a queue. What cannot be written is lost.
/// </summary>
internal sealed class SteadyLogger : ILogger
{
    private readonly ILogger _logger;

    private SteadyLogger(ILogger logger) => _logger = logger;

    internal static ILogger Over(ILogger logger) => logger as SteadyLogger ?? new SteadyLogger(logger);

    public IDisposable? BeginScope<TState>(TState state) where TState : notnull => _logger.BeginScope(state);

    public bool IsEnabled(LogLevel logLevel) => _logger.IsEnabled(logLevel);

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception,
        Func<TState, Exception?, string> formatter)
    {
        try
        {
            _logger.Log(logLevel, eventId, state, exception, formatter);
        }
        catch (Exception)
        {
            // Whatever it is: a full disk, no descriptor left, a closed stream, a bug of the logger.
        }
    }
}
