using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
using Spectre.Console;
using Vmm.Devices;

namespace Vmm.Tool;

/// <summary>What a load on one back-end came to, as it is written to JSON.</summary>
internal sealed record BlockFigures(
    string Socket, double OperationsPerSecond, double BytesPerSecond, double CpuMicrosecondsPerOperation, double MeanMicroseconds,
    double P50Microseconds, double P90Microseconds, double P99Microseconds, double P999Microseconds, double MaxMicroseconds,
    IReadOnlyList<double> QueueShares, long Errors)
{
    internal static BlockFigures Of(BlockTarget target)
    {
        LatencyHistogram latency = target.Latency;
        double At(double percent) => latency.Percentile(percent) / 1000.0;
        return new BlockFigures(target.Socket, target.OperationsPerSecond, target.BytesPerSecond,
            target.CpuPerOperation.TotalMicroseconds, latency.Mean / 1000,
            At(50), At(90), At(99), At(99.9), latency.Max / 1000.0, target.Shares, target.Errors);
    }
}

/// <summary>One back-end, or two and what the first does for each that the second does.</summary>
internal sealed record BlockComparison(
    BlockFigures A, [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] BlockFigures? B,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] double? Ratio);

/// <summary>Serializes a comparison without reflection, which the published file does not have.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true)]
[JsonSerializable(typeof(BlockComparison))]
internal sealed partial class BlockReportJson : JsonSerializerContext;

/// <summary>Prints what a load came to, as a table and as JSON.</summary>
internal static class BlockReport
{
    private const int WidthOfFile = 160, ChartWidth = 80;

    internal static void Print(BlockComparison comparison, IReadOnlyList<BlockTarget> targets)
    {
        // What is no terminal has no width that a row would have to be cut at.
        if (Console.IsOutputRedirected) AnsiConsole.Profile.Width = Math.Max(AnsiConsole.Profile.Width, WidthOfFile);
        BlockFigures[] columns = comparison.B is null ? [comparison.A] : [comparison.A, comparison.B];
        Table table = new Table().RoundedBorder().AddColumn("");
        for (int i = 0; i < columns.Length; i++) table.AddColumn(new TableColumn(NameOf(i)).RightAligned());
        void Row(string what, Func<BlockFigures, string> text) => table.AddRow([what, .. columns.Select(text)]);
        Row("operations a second", figures => Number(figures.OperationsPerSecond));
        Row("MiB a second", figures => Number(figures.BytesPerSecond / (1 << 20)));
        Row("CPU µs an operation", figures => Number(figures.CpuMicrosecondsPerOperation));
        Row("mean µs", figures => Number(figures.MeanMicroseconds));
        Row("p50 µs", figures => Number(figures.P50Microseconds));
        Row("p90 µs", figures => Number(figures.P90Microseconds));
        Row("p99 µs", figures => Number(figures.P99Microseconds));
        Row("p99.9 µs", figures => Number(figures.P999Microseconds));
        Row("longest µs", figures => Number(figures.MaxMicroseconds));
        Row("shares of the queues", figures => string.Join(':', figures.QueueShares.Select(share => $"{share * 100:f0}")));
        if (columns.Any(figures => figures.Errors > 0))
            Row("failed, or wrong bytes", figures => figures.Errors.ToString("N0", CultureInfo.InvariantCulture));
        AnsiConsole.Write(table);
        if (comparison.Ratio is { } ratio)
            Console.Out.WriteLine(string.Create(CultureInfo.InvariantCulture, $"a does {ratio:f2} operations for each of b"));
        for (int i = 0; i < targets.Count; i++)
        {
            Console.Out.WriteLine($"\nlatency of {NameOf(i)}, {targets[i].Socket}");
            if (HistogramOf(targets[i].Latency) is { } chart) AnsiConsole.Write(chart);
        }
    }

    /// <summary>Finds out before a load of hours whether its figures can be written; what is there stays.</summary>
    internal static void CheckWritable(string path)
    {
        bool isNew = !File.Exists(path);
        try
        {
            File.Open(path, FileMode.Append).Dispose();
        }
        catch (Exception refused) when (refused is IOException or UnauthorizedAccessException)
        {
            throw new UsageException($"--json '{path}': {refused.Message} Name a file in a directory that can be written");
        }
        if (isNew) File.Delete(path);
    }

    internal static void Write(BlockComparison comparison, string path) =>
        File.WriteAllText(path, JsonSerializer.Serialize(comparison, BlockReportJson.Default.BlockComparison) + "\n");

    private static string NameOf(int target) => target == 0 ? "a" : "b";

    private static string Number(double value) => value.ToString(value < 100 ? "N2" : "N0", CultureInfo.InvariantCulture);

    /// <summary>A bar for each power of two that occurred, as long as its part of all; null if nothing was measured.</summary>
    private static BarChart? HistogramOf(LatencyHistogram latency)
    {
        SortedDictionary<int, long> lines = [];
        foreach ((long nanosecondsMax, long count) in latency.Buckets())
        {
            if (count == 0) continue;
            int line = (int)long.Log2(Math.Max(1, nanosecondsMax));
            lines[line] = lines.GetValueOrDefault(line) + count;
        }
        if (lines.Count == 0) return null;
        double all = lines.Values.Sum();
        BarChart chart = new BarChart().Width(ChartWidth);
        chart.UseValueFormatter(value => value.ToString("f1", CultureInfo.InvariantCulture) + " %");
        for (int line = lines.Keys.First(); line <= lines.Keys.Last(); line++)
        {
            string label = string.Create(CultureInfo.InvariantCulture, $"< {(1L << (line + 1)) / 1000.0:f1} µs");
            chart.AddItem(label, 100 * lines.GetValueOrDefault(line) / all, Color.Aqua);
        }
        return chart;
    }
}
