using Microsoft.Extensions.Logging;
using Vmm.Devices;

namespace Vmm.Tool;

/// <summary>
/// Standard error, for what is said there in this process: standard output is for what was asked for. No thread waits for its reader.
/// Thread-safe.
/// </summary>
internal static class StandardError
{
    private const int Descriptor = 2;

    private static Func<LogEntry, string> _format = ProcessDescriptors.IsJournal(Descriptor) ? LogFormat.Journal : LogFormat.Text;

    /// <summary>Where standard error is the journal's; it takes what the journal does not take as fields.</summary>
    private static readonly Journal? Fields = _format == LogFormat.Journal ? Journal.TryConnect() : null;

    private static readonly PatientOutput Output = new(
        ProcessDescriptors.IsInherited(Descriptor)
            ? SerialOutput.To(StandardStreams.DuplicateOf(Descriptor)) : SerialOutput.To(Stream.Null),
        dropped => _format(new LogEntry(LogLevel.Warning, $"{dropped} lines were dropped: standard error was full, and was not read")));

    /// <summary>Opens it: the first line to log may be that this process has no descriptor left.</summary>
    internal static void Open() => _ = Output;

    /// <summary>Says something, in one line.</summary>
    /// <param name="level">How serious it is.</param>
    /// <param name="sentence">What there is to say.</param>
    /// <param name="device">The device it is about; null for none.</param>
    internal static void Say(LogLevel level, string sentence, string? device = null) =>
        Write(new LogEntry(level, sentence) { Device = device });

    /// <summary>Writes an entry.</summary>
    internal static void Write(LogEntry entry)
    {
        if (_format == LogFormat.Journal && Fields?.TryWrite(entry) == true) return;
        Output.WriteLine(_format(entry));
    }

    /// <summary>
    /// Takes standard error for entries: what a library prints there by itself becomes one for each line. Text that goes to no journal
    /// needs none of it.
    /// </summary>
    /// <param name="asJson">Whether entries are JSON.</param>
    internal static void Take(bool asJson)
    {
        if (asJson) _format = LogFormat.Json;
        if (_format != LogFormat.Text) Console.SetError(new LinesOfOthers(line => Say(LogLevel.Warning, line)));
    }
}
