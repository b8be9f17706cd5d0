using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
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

/// <summary>Prints what a load came to, for people and for programs.</summary>
internal static class BlockReport
{
    private const int BarWidth = 50;

    internal static void Print(BlockComparison comparison, IReadOnlyList<BlockTarget> targets)
    {
        StringBuilder text = new();
        Row(text, "", "op/s", "MiB/s", "cpu/op µs", "mean µs", "p50", "p90", "p99", "p99.9", "max", "shares");
        Figures(text, "a", comparison.A);
        if (comparison.B is not null) Figures(text, "b", comparison.B);
        if (comparison.Ratio is { } ratio) text.Append(CultureInfo.InvariantCulture, $"a does {ratio:f2} operations for each of b\n");
        for (int i = 0; i < targets.Count; i++)
        {
            text.Append(CultureInfo.InvariantCulture, $"\nlatency of {(char)('a' + i)}, {targets[i].Socket}\n");
            Histogram(text, targets[i].Latency);
        }
        Console.Write(text);
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

    private static void Figures(StringBuilder text, string name, BlockFigures figures)
    {
        string Number(double value) => value.ToString(value < 100 ? "f2" : "f0", CultureInfo.InvariantCulture);
        Row(text, name, Number(figures.OperationsPerSecond), Number(figures.BytesPerSecond / (1 << 20)),
            Number(figures.CpuMicrosecondsPerOperation),
            Number(figures.MeanMicroseconds), Number(figures.P50Microseconds), Number(figures.P90Microseconds),
            Number(figures.P99Microseconds),
            Number(figures.P999Microseconds), Number(figures.MaxMicroseconds), string.Join(':',
                figures.QueueShares.Select(share => $"{share * 100:f0}")));
        if (figures.Errors > 0) text.Append(CultureInfo.InvariantCulture, $"  {figures.Errors} requests failed or brought wrong bytes\n");
    }

    private static void Row(StringBuilder text, params string[] cells)
    {
        text.Append(cells[0].PadRight(3));
        foreach (string cell in cells[1..]) text.Append(cell.PadLeft(11));
        text.Append('\n');
    }

    /// <summary>One line for each power of two that occurred, as wide as its share.</summary>
    private static void Histogram(StringBuilder text, LatencyHistogram latency)
    {
        SortedDictionary<int, long> lines = [];
        foreach ((long nanosecondsMax, long count) in latency.Buckets())
        {
            if (count == 0) continue;
            int line = (int)long.Log2(Math.Max(1, nanosecondsMax));
            lines[line] = lines.GetValueOrDefault(line) + count;
        }
        if (lines.Count == 0) return;
        long most = lines.Values.Max(), all = lines.Values.Sum();
        for (int line = lines.Keys.First(); line <= lines.Keys.Last(); line++)
        {
            long count = lines.GetValueOrDefault(line);
            double microseconds = (1L << (line + 1)) / 1000.0;
            string bar = new('#', (int)Math.Round((double)count * BarWidth / most));
            text.Append(CultureInfo.InvariantCulture, $"  < {microseconds,10:f1} µs {(double)count / all,7:p1} {bar}\n");
        }
    }
}
