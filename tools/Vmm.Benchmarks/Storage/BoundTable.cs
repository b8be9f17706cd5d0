using System.Globalization;
using Spectre.Console;
using Vmm.Tool;

namespace Vmm.Benchmarks;

/// <summary>What was measured, each beside its bound. A terminal sees each figure when it is known.</summary>
internal sealed class BoundTable(string suite)
{
    /// <summary>Columns of a row: it is not broken where the output is no terminal.</summary>
    private const int Width = 150;

    private readonly Table _table = new Table().Border(TableBorder.Simple).AddColumns("", "measured", "must be", "");
    private readonly ProgressLine _progress = new(TimeSpan.Zero, suite);

    /// <summary>Whether every bound is kept.</summary>
    internal bool IsKept { get; private set; } = true;

    internal static string Two(double number) => number.ToString("0.00", CultureInfo.InvariantCulture);

    internal void AtLeast(string what, double figure, double bound) => Row(what, figure, $"≥ {Two(bound)}", figure >= bound);

    internal void AtMost(string what, double figure, double bound) => Row(what, figure, $"≤ {Two(bound)}", figure <= bound);

    /// <summary>Within a part of what was asked for.</summary>
    internal void Near(string what, double figure, double wanted, double part) =>
        Row(what, figure, $"{Two(wanted)} ± {part * 100:0} %", Math.Abs(figure - wanted) <= wanted * part);

    internal void Say(string what, string measured)
    {
        _progress.Report($"{what}: {measured}");
        _table.AddRow(Markup.Escape(what), Markup.Escape(measured), "", "");
    }

    internal void Print(IAnsiConsole console)
    {
        _progress.End();
        console.Profile.Width = Math.Max(console.Profile.Width, Width);
        console.Write(_table);
    }

    private void Row(string what, double figure, string bound, bool isKept)
    {
        IsKept &= isKept;
        _progress.Report($"{what}: {Two(figure)}");
        _table.AddRow(Markup.Escape(what), Two(figure), bound, isKept ? "kept" : "missed");
    }
}
