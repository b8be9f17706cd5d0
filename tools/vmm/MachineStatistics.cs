using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
using Spectre.Console;
using Vmm.Devices;
using Vmm.Events;

namespace Vmm.Tool;

/// <summary>What a run's devices and reactor did, as a table and as JSON.</summary>
internal sealed record MachineStatistics(
    IReadOnlyList<DeviceLine> Devices, IReadOnlyList<DiskLine> Disks, IReadOnlyList<BalloonLine> Balloons, ReactorLine Reactor,
    IReadOnlyList<ReactorLine> Reactors)
{
    private const int WidthOfFile = 160;

    /// <param name="finished">What devices and reactors did in all.</param>
    /// <param name="balloons">The balloons as they were when the guest had finished.</param>
    /// <param name="booted">What the reactors had done when the guest had booted; empty to count from the start.</param>
    internal static MachineStatistics Of(DeviceHostStatistics finished, IReadOnlyList<BalloonLine> balloons,
        IReadOnlyList<ReactorStatistics> booted)
    {
        ReactorLine[] reactors =
            [.. finished.Reactors.Select((reactor, i) => ReactorLine.Of($"devices{i}", i < booted.Count ? booted[i] : default, reactor))];
        return new MachineStatistics([.. finished.Devices.Select(DeviceLine.Of)],
            [.. finished.Devices.Where(device => device.Operations is not null).Select(DiskLine.Of)], balloons,
            ReactorLine.Sum(reactors), reactors);
    }

    internal void Print(StatsFormat format)
    {
        if (format == StatsFormat.Json) Console.Out.WriteLine(JsonSerializer.Serialize(this, StatisticsJson.Default.MachineStatistics));
        else PrintTable();
    }

    private void PrintTable()
    {
        // What is no terminal has no width that a number would have to be cut at.
        if (Console.IsOutputRedirected) AnsiConsole.Profile.Width = Math.Max(AnsiConsole.Profile.Width, WidthOfFile);
        Table devices = TableOf(["device"], ["kicks", "requests", "bytes", "interrupts", "p50 µs", "p99 µs"]);
        foreach (DeviceLine device in Devices)
        {
            devices.AddRow(device.Name, Number(device.Kicks), Number(device.Requests), Number(device.Bytes), Number(device.Interrupts),
                Micros(device.LatencyP50Us), Micros(device.LatencyP99Us));
        }
        string[] reactor = Reactors.Count > 1 ? ["reactor"] : [];
        Table reactors = TableOf(reactor, ["waits", "events", "events/wait", "ghosts", "allocated bytes/event"]);
        foreach (ReactorLine line in Reactors)
        {
            string[] name = Reactors.Count > 1 ? [line.Name] : [];
            reactors.AddRow([.. name, Number(line.Waits), Number(line.Events), Decimal(line.EventsPerWait), Number(line.Ghosts),
                Decimal(line.AllocatedBytesPerEvent)]);
        }
        AnsiConsole.Write(devices);
        if (Disks.Count > 0) AnsiConsole.Write(DiskTable());
        if (Reactors.Count > 1) AnsiConsole.Write(QueueTable());
        if (Balloons.Count > 0) AnsiConsole.Write(BalloonTable());
        AnsiConsole.Write(reactors);
    }

    /// <param name="names">Headers of columns of names.</param>
    /// <param name="numbers">Headers of columns of numbers.</param>
    private static Table TableOf(string[] names, string[] numbers)
    {
        Table table = new Table().RoundedBorder().AddColumns(names);
        foreach (string column in numbers) table.AddColumn(new TableColumn(column).RightAligned());
        return table;
    }

    /// <summary>Kinds of which there were none are left out.</summary>
    private Table DiskTable()
    {
        Table table = TableOf(["disk"], ["operations", "errors", "p50 µs", "p99 µs", "longest µs"]);
        foreach (DiskLine disk in Disks)
        {
            foreach (OperationLine done in disk.Operations.Where(done => done.Measured + done.Errors > 0))
            {
                table.AddRow($"{disk.Name} {done.Kind}", Number(done.Measured), Number(done.Errors), Micros(done.LatencyP50Us),
                    Micros(done.LatencyP99Us), Micros(done.LatencyMaxUs));
            }
            if (disk.Reconnects > 0) table.AddRow($"{disk.Name} reconnects", Number(disk.Reconnects.Value));
            if (disk.ThrottledMs > 0) table.AddRow($"{disk.Name} throttled", $"{Number(disk.ThrottledMs)} ms");
        }
        return table;
    }

    private Table QueueTable()
    {
        Table table = TableOf(["queue", "reactor"], ["kicks", "requests", "bytes", "interrupts"]);
        foreach (DeviceLine device in Devices)
        {
            for (int i = 0; i < device.Queues.Count; i++)
            {
                QueueFigures queue = device.Queues[i];
                table.AddRow($"{device.Name} {i} {queue.Name}", queue.Reactor, Number(queue.Kicks),
                    Number(queue.Requests), Number(queue.Bytes), Number(queue.Interrupts));
            }
        }
        return table;
    }

    private Table BalloonTable()
    {
        Table table = TableOf(["balloon"], ["target", "given up", "returned", "memory", "free"]);
        foreach (BalloonLine line in Balloons)
        {
            table.AddRow(line.Name, Mebibytes(line.TargetBytes), Mebibytes(line.ActualBytes), Mebibytes((ulong)line.ReturnedBytes),
                Mebibytes(line.TotalBytes), Mebibytes(line.FreeBytes));
        }
        return table;
    }

    private static string Mebibytes(ulong? bytes) =>
        bytes is { } known ? (known >> 20).ToString("N0", CultureInfo.InvariantCulture) + " MiB" : "not known";

    private static string Number(long value) => value.ToString("N0", CultureInfo.InvariantCulture);

    private static string Decimal(double value) => value.ToString("0.##", CultureInfo.InvariantCulture);

    /// <summary>Short enough for a table that fits 80 columns.</summary>
    private static string Micros(double value) => value.ToString(value < 1000 ? "0.##" : "N0", CultureInfo.InvariantCulture);
}

/// <summary>One device's line.</summary>
internal sealed record DeviceLine(
    string Name, long Kicks, long Requests, long Bytes, long Interrupts,
    [property: JsonPropertyName("latency_p50_us")] double LatencyP50Us, [property: JsonPropertyName("latency_p99_us")] double LatencyP99Us,
    IReadOnlyList<QueueFigures> Queues)
{
    internal static DeviceLine Of(DeviceStatistics device) =>
        new(device.Name, device.Kicks, device.Requests, device.Bytes, device.Interrupts,
        Math.Round(device.LatencyP50Us, 2), Math.Round(device.LatencyP99Us, 2), device.Queues);
}

/// <summary>A disk's lines: each kind of operation, and what held it up.</summary>
internal sealed record DiskLine(string Name, IReadOnlyList<OperationLine> Operations, long? Reconnects, long ThrottledMs)
{
    internal static DiskLine Of(DeviceStatistics device) => new(device.Name, [.. device.Operations!.Select(OperationLine.Of)],
        device.Reconnects, (long)device.Throttled.TotalMilliseconds);
}

/// <summary>One kind of a disk's operations.</summary>
internal sealed record OperationLine(
    string Kind, long Measured, long Errors,
    [property: JsonPropertyName("latency_p50_us")] double LatencyP50Us, [property: JsonPropertyName("latency_p99_us")] double LatencyP99Us,
    [property: JsonPropertyName("latency_max_us")] double LatencyMaxUs)
{
    internal static OperationLine Of(DiskFigures done) => new(done.Kind, done.Measured, done.Errors,
        Math.Round(done.LatencyP50Us, 2), Math.Round(done.LatencyP99Us, 2), Math.Round(done.LatencyMaxUs, 2));
}

/// <summary>A balloon's line: what was asked for, what the guest says, what went back. All in bytes.</summary>
internal sealed record BalloonLine(string Name, ulong TargetBytes, ulong ActualBytes, long ReturnedBytes,
    ulong? TotalBytes, ulong? FreeBytes)
{
    /// <summary>Of each balloon of a host, as it is now: a guest that gives up its devices gives up its balloon.</summary>
    internal static IReadOnlyList<BalloonLine> Of(DeviceHost host) =>
        [.. host.Devices.Select(hosted => hosted.Device).OfType<BalloonDevice>().Select(Of)];

    private static BalloonLine Of(BalloonDevice balloon) => new(
        balloon.Name, balloon.TargetBytes, balloon.ActualBytes, balloon.ReturnedBytes, Reported(balloon,
            BalloonStatistic.TotalBytes), Reported(balloon, BalloonStatistic.FreeBytes));

    private static ulong? Reported(BalloonDevice balloon, BalloonStatistic statistic) =>
        balloon.LastStatistics is { } reported && reported.TryGetValue(statistic, out ulong value) ? value : null;
}

/// <summary>A reactor's line: what it did from the end of the guest's boot to the end of its commands.</summary>
internal sealed record ReactorLine(string Name, long Waits, long Events, double EventsPerWait,
    long Ghosts, long AllocatedBytes, double AllocatedBytesPerEvent)
{
    internal static ReactorLine Of(string name, ReactorStatistics booted, ReactorStatistics finished) => Of(
        name, finished.Waits - booted.Waits, finished.Events - booted.Events, finished.Ghosts,
        finished.AllocatedBytes - booted.AllocatedBytes);

    /// <summary>All reactors as one.</summary>
    internal static ReactorLine Sum(IReadOnlyList<ReactorLine> lines) => Of(
        "all", lines.Sum(line => line.Waits), lines.Sum(line => line.Events), lines.Sum(line =>
            line.Ghosts), lines.Sum(line => line.AllocatedBytes));

    private static ReactorLine Of(string name, long waits, long events, long ghosts, long allocated) =>
        new(name, waits, events, Ratio(events, waits, 3), ghosts, allocated, Ratio(allocated, events, 3));

    private static double Ratio(long part, long whole, int decimals) => whole == 0 ? 0 : Math.Round((double)part / whole, decimals);
}

/// <summary>Serializes statistics without reflection, which the published file does not have.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower)]
[JsonSerializable(typeof(MachineStatistics))]
internal sealed partial class StatisticsJson : JsonSerializerContext;

/// <summary>How statistics are printed.</summary>
internal enum StatsFormat
{
    /// <summary>Tables for readers.</summary>
    Table,
    /// <summary>One line of JSON, the last of standard output.</summary>
    Json,
}

internal static class StatsFormats
{
    /// <summary>The format of a word on the command line; null for none.</summary>
    internal static StatsFormat? Of(string? word) => word switch { "table" => StatsFormat.Table, "json" => StatsFormat.Json, _ => null };
}
