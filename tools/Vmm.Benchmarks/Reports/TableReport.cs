using System.Globalization;
using Spectre.Console;

namespace Vmm.Benchmarks;

/// <summary>A table and a bar chart of each group in the terminal.</summary>
internal static class TableReport
{
    private static readonly Color[] Palette =
        [Color.Grey, Color.Orange1, Color.Yellow, Color.Gold1, Color.Aqua, Color.Green, Color.Lime, Color.Blue];

    internal static void Print(IAnsiConsole console, Comparison comparison, IReadOnlyList<Measurement> measurements)
    {
        string baseline = comparison.Variants[0].Name;
        console.WriteLine();
        console.MarkupLineInterpolated($"[bold]{comparison.Group}[/]: {comparison.Description}");
        Table table = new Table().Border(TableBorder.Simple).AddColumn(new TableColumn("n").RightAligned()).AddColumn("variant");
        foreach (string title in (string[])["ns/event", $"ratio to {baseline}", "bytes/event"])
            table.AddColumn(new TableColumn(title).RightAligned());
        foreach (Measurement measured in measurements)
        {
            table.AddRow(Text(measured.N, "N0"), measured.Variant, Text(measured.NsPerEvent, "N1"), Text(measured.Ratio, "N3"),
                Text(measured.BytesPerEvent, "N1"));
        }
        console.Write(table);
        PrintChart(console, measurements);
    }

    /// <summary>One chart of the largest n: the ratios, in hundredths, as bars.</summary>
    private static void PrintChart(IAnsiConsole console, IReadOnlyList<Measurement> measurements)
    {
        int largest = measurements.Max(measured => measured.N);
        IReadOnlyList<Measurement> shown = [.. measurements.Where(measured => measured.N == largest)];
        BarChart chart = new BarChart().Width(Math.Min(100, console.Profile.Width))
            .Label($"ratio at n = {Text(largest, "N0")}").LeftAlignLabel();
        chart.UseValueFormatter(value => value.ToString("0.00", CultureInfo.InvariantCulture));
        for (int i = 0; i < shown.Count; i++) chart.AddItem(shown[i].Variant, Math.Round(shown[i].Ratio, 2), Palette[i % Palette.Length]);
        console.Write(chart);
    }

    private static string Text(double value, string format) => value.ToString(format, CultureInfo.InvariantCulture);
}
