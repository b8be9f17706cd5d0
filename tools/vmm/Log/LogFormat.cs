using System.Buffers;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Microsoft.Extensions.Logging;

namespace Vmm.Tool;

/// <summary>The formats of an entry, without the end of its line.</summary>
internal static class LogFormat
{
    // Apostrophes of sentences stay as they are: this is part of no web page. Control characters are escaped.
    private static readonly JsonWriterOptions AsSaid = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>For readers.</summary>
    internal static string Text(LogEntry entry) =>
        entry.Exception is null ? $"vmm: {entry.Message}" : $"vmm: {entry.Message}: {entry.Exception}";

    /// <summary>For systemd's journal: each line begins with its priority (sd-daemon(3)).</summary>
    internal static string Journal(LogEntry entry)
    {
        string priority = $"<{PriorityOf(entry.Level)}>";
        return priority + Text(entry).Replace("\n", $"\n{priority}", StringComparison.Ordinal);
    }

    /// <summary>For programs: one object, on one line.</summary>
    internal static string Json(LogEntry entry)
    {
        ArrayBufferWriter<byte> line = new();
        using (Utf8JsonWriter json = new(line, AsSaid))
        {
            json.WriteStartObject();
            json.WriteString("time", entry.Time);
            json.WriteString("level", NameOf(entry.Level));
            json.WriteString("category", entry.Category);
            if (entry.Event is { } happened) json.WriteString("event", happened);
            if (entry.Device is { } device) json.WriteString("device", device);
            json.WriteString("message", entry.Message);
            if (entry.Exception is { } exception) json.WriteString("exception", exception);
            json.WriteEndObject();
        }
        return Encoding.UTF8.GetString(line.WrittenSpan);
    }

    /// <summary>Every level as programs read it, the least serious first.</summary>
    internal static string[] Levels { get; } = [.. Enum.GetValues<LogLevel>().Select(NameOf)];

    /// <summary>The level of a name, in whatever case; null for none.</summary>
    internal static LogLevel? LevelOf(string name) =>
        Array.FindIndex(Levels, level => level.Equals(name, StringComparison.OrdinalIgnoreCase)) is >= 0 and var found
            ? (LogLevel)found : null;

    /// <summary>A level as programs read it: <c>information</c>.</summary>
    internal static string NameOf(LogLevel level) => level.ToString().ToLowerInvariant();

    /// <summary>A level as syslog(3) counts it.</summary>
    internal static int PriorityOf(LogLevel level) => level switch
    {
        LogLevel.Critical => 2,
        LogLevel.Error => 3,
        LogLevel.Warning => 4,
        LogLevel.Information => 6,
        _ => 7,
    };
}
