using Microsoft.Extensions.Logging;

namespace Vmm.Tool;

/// <summary>Something to be said on standard error.</summary>
internal sealed record LogEntry(LogLevel Level, string Message)
{
    /// <summary>When it happened.</summary>
    internal DateTimeOffset Time { get; init; } = DateTimeOffset.UtcNow;

    /// <summary>What part of the program says it.</summary>
    internal string Category { get; init; } = "vmm";

    /// <summary>What happened, for programs: <c>guest-fault</c> and so on; null for anything else.</summary>
    internal string? Event { get; init; }

    /// <summary>The device it happened to; null for none.</summary>
    internal string? Device { get; init; }

    /// <summary>What was thrown, with its stack; null for nothing.</summary>
    internal string? Exception { get; init; }
}
