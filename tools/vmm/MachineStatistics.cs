using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
using Spectre.Console;
using Vmm.Devices;
using Vmm.Events;

namespace Vmm.Tool;

/// <summary>What a run's devices and reactor did, for people and for programs.</summary>
internal sealed record MachineStatistics(IReadOnlyList<DeviceLine> Devices, IReadOnlyList<BalloonLine> Balloons, ReactorLine Reactor)
{
    private const int WidthOfFile = 160;

    private static readonly JsonSerializerOptions Json = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower };

    internal static MachineStatistics Of(IEnumerable<DeviceStatistics> devices, IReadOnlyList<BalloonLine> balloons, ReactorStatistics booted, ReactorStatistics finished) =>
        new([.. devices.Select(DeviceLine.Of)], balloons, ReactorLine.Of(booted, finished));

    internal void Print(StatsFormat format)
    {
        if (format == StatsFormat.Json) Console.Out.WriteLine(JsonSerializer.Serialize(this, Json));
        else PrintTable();
    }

    private void PrintTable()
    {
        // What is no terminal has no width that a number would have to be cut at.
        if (Console.IsOutputRedirected) AnsiConsole.Profile.Width = Math.Max(AnsiConsole.Profile.Width, WidthOfFile);
        Table devices = new Table().RoundedBorder().AddColumn("device");
        foreach (string column in (string[])["kicks", "requests", "bytes", "interrupts", "p50 µs", "p99 µs"])
            devices.AddColumn(new TableColumn(column).RightAligned());
        foreach (DeviceLine device in Devices)
        {
            devices.AddRow(device.Name, Number(device.Kicks), Number(device.Requests), Number(device.Bytes), Number(device.Interrupts),
                Micros(device.LatencyP50Us), Micros(device.LatencyP99Us));
        }
        Table reactor = new Table().RoundedBorder();
        foreach (string column in (string[])["waits", "events", "events/wait", "ghosts", "allocated bytes/event"])
            reactor.AddColumn(new TableColumn(column).RightAligned());
        reactor.AddRow(Number(Reactor.Waits), Number(Reactor.Events), Decimal(Reactor.EventsPerWait), Number(Reactor.Ghosts),
            Decimal(Reactor.AllocatedBytesPerEvent));
        AnsiConsole.Write(devices);
        if (Balloons.Count > 0) AnsiConsole.Write(BalloonTable());
        AnsiConsole.Write(reactor);
    }

    private Table BalloonTable()
    {
        Table table = new Table().RoundedBorder().AddColumn("balloon");
        foreach (string column in (string[])["target", "given up", "returned", "told: memory", "told: free"])
            table.AddColumn(new TableColumn(column).RightAligned());
        foreach (BalloonLine line in Balloons)
        {
            table.AddRow(line.Name, Mebibytes(line.TargetBytes), Mebibytes(line.ActualBytes), Mebibytes((ulong)line.ReturnedBytes),
                Mebibytes(line.TotalBytes), Mebibytes(line.FreeBytes));
        }
        return table;
    }

    private static string Mebibytes(ulong? bytes) => bytes is { } known ? (known >> 20).ToString("N0", CultureInfo.InvariantCulture) + " MiB" : "not told";

    private static string Number(long value) => value.ToString("N0", CultureInfo.InvariantCulture);

    private static string Decimal(double value) => value.ToString("0.##", CultureInfo.InvariantCulture);

    /// <summary>Short enough for a table that fits 80 columns.</summary>
    private static string Micros(double value) => value.ToString(value < 1000 ? "0.##" : "N0", CultureInfo.InvariantCulture);
}

/// <summary>One device's line.</summary>
internal sealed record DeviceLine(
    string Name, long Kicks, long Requests, long Bytes, long Interrupts,
    [property: JsonPropertyName("latency_p50_us")] double LatencyP50Us, [property: JsonPropertyName("latency_p99_us")] double LatencyP99Us)
{
    internal static DeviceLine Of(DeviceStatistics device) => new(device.Name, device.Kicks, device.Requests, device.Bytes, device.Interrupts,
        Math.Round(device.LatencyP50Us, 2), Math.Round(device.LatencyP99Us, 2));
}

/// <summary>A balloon's line: what was asked for, what the guest says, what went back. All in bytes.</summary>
internal sealed record BalloonLine(string Name, ulong TargetBytes, ulong ActualBytes, long ReturnedBytes, ulong? TotalBytes, ulong? FreeBytes)
{
    /// <summary>Of each balloon among some devices, as it is now: a guest that lets go of its devices lets go of its balloon.</summary>
    internal static IReadOnlyList<BalloonLine> Of(IEnumerable<VirtioDevice> devices) => [.. devices.OfType<BalloonDevice>().Select(Of)];

    private static BalloonLine Of(BalloonDevice balloon) => new(
        balloon.Name, balloon.TargetBytes, balloon.ActualBytes, balloon.ReturnedBytes, Told(balloon, BalloonStatistic.TotalBytes), Told(balloon, BalloonStatistic.FreeBytes));

    private static ulong? Told(BalloonDevice balloon, BalloonStatistic statistic) =>
        balloon.LastStatistics is { } told && told.TryGetValue(statistic, out ulong value) ? value : null;
}

/// <summary>The reactor's line: what it did from the end of the guest's boot to the end of its commands.</summary>
internal sealed record ReactorLine(long Waits, long Events, double EventsPerWait, long Ghosts, long AllocatedBytes, double AllocatedBytesPerEvent)
{
    internal static ReactorLine Of(ReactorStatistics booted, ReactorStatistics finished)
    {
        long waits = finished.Waits - booted.Waits;
        long events = finished.Events - booted.Events;
        long allocated = finished.AllocatedBytes - booted.AllocatedBytes;
        return new ReactorLine(waits, events, Ratio(events, waits, 3), finished.Ghosts, allocated, Ratio(allocated, events, 3));
    }

    private static double Ratio(long part, long whole, int decimals) => whole == 0 ? 0 : Math.Round((double)part / whole, decimals);
}

/// <summary>How statistics are printed.</summary>
internal enum StatsFormat
{
    /// <summary>Tables for people.</summary>
    Table,
    /// <summary>One line of JSON, the last of standard output.</summary>
    Json,
}

internal static class StatsFormats
{
    /// <summary>The format of a word on the command line; null for none.</summary>
    internal static StatsFormat? Of(string? word) => word switch { "table" => StatsFormat.Table, "json" => StatsFormat.Json, _ => null };
}
