using System.Globalization;
using Spectre.Console;
using Vmm.Tool;

namespace Vmm.Benchmarks;

/// <summary>What was measured, each beside its bound. A terminal sees each figure when it is known.</summary>
/// <param name="suite">For the terminal.</param>
/// <param name="caption">A line below the table; null for none.</param>
internal sealed class BoundTable(string suite, string? caption = null)
{
    /// <summary>Columns of a row: it is not broken where the output is no terminal.</summary>
    private const int Width = 150;

    private readonly Table _table = new Table().Border(TableBorder.Simple).AddColumns("", "measured", "must be", "").Caption(caption ?? "");
    private readonly ProgressLine _progress = new(TimeSpan.Zero, suite);

    /// <summary>Whether every bound is kept.</summary>
    internal bool IsKept { get; private set; } = true;

    internal static string Two(double number) => number.ToString("0.00", CultureInfo.InvariantCulture);

    internal void AtLeast(string what, double figure, double bound) => Row(what, Two(figure), $"≥ {Two(bound)}", figure >= bound);

    /// <param name="what">What was measured.</param>
    /// <param name="figure">How much.</param>
    /// <param name="bound">The most; null for no bound.</param>
    /// <param name="text">How both are written; null for two decimals.</param>
    internal void AtMost(string what, double figure, double? bound, Func<double, string>? text = null)
    {
        text ??= Two;
        if (bound is { } most) Row(what, text(figure), $"≤ {text(most)}", figure <= most);
        else Say(what, text(figure));
    }

    /// <summary>Within a part of what was asked for.</summary>
    internal void Near(string what, double figure, double wanted, double part) =>
        Row(what, Two(figure), $"{Two(wanted)} ± {part * 100:0} %", Math.Abs(figure - wanted) <= wanted * part);

    /// <summary>What has no bound.</summary>
    internal void Say(string what, string measured) => Row(what, measured, "", isKept: null);

    internal void Print(IAnsiConsole console)
    {
        _progress.End();
        console.Profile.Width = Math.Max(console.Profile.Width, Width);
        console.Write(_table);
    }

    private void Row(string what, string measured, string bound, bool? isKept)
    {
        IsKept &= isKept ?? true;
        _progress.Report($"{what}: {measured}");
        _table.AddRow(Markup.Escape(what), Markup.Escape(measured), bound, isKept switch { true => "kept", false => "missed", null => "" });
    }
}
