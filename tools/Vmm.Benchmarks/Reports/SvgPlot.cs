using System.Globalization;
using System.Text;

namespace Vmm.Benchmarks;

/// <summary>
/// One group as horizontal bars, one block of bars for each n, with a line where the baseline is. The figures stand in a column of their
/// own, which no line crosses.
/// </summary>
internal static class SvgPlot
{
    private const int LabelWidth = 190;
    private const int BarsWidth = 520;
    private const int ValueWidth = 130;
    private const int BarHeight = 16;
    private const int BlockGap = 26;
    private const int Top = 56;
    /// <summary>Longer bars are cut: one slow variant would make the others unreadable.</summary>
    private const double RatioShownMax = 2.0;
    private static readonly string[] Palette = ["#8a8f98", "#d98c5f", "#d9b75f", "#b9c46a", "#5fa8d9", "#4f7fd0", "#4cae7a", "#9a6fd0"];

    /// <summary>Writes <c>DIRECTORY/GROUP.svg</c>.</summary>
    /// <returns>The path of the file.</returns>
    internal static string Write(string directory, Comparison comparison, IReadOnlyList<Measurement> measurements)
    {
        string path = Path.Combine(directory, $"{comparison.Group}.svg");
        File.WriteAllText(path, Draw(comparison, measurements));
        return path;
    }

    internal static string Draw(Comparison comparison, IReadOnlyList<Measurement> measurements)
    {
        IReadOnlyList<IGrouping<int, Measurement>> blocks = [.. measurements.GroupBy(measured => measured.N)];
        int height = Top + measurements.Count * BarHeight + blocks.Count * BlockGap + 12;
        int width = LabelWidth + BarsWidth + ValueWidth;
        StringBuilder svg = new();
        string size = $"width=\"{width}\" height=\"{height}\"";
        Line(svg, $"<svg xmlns=\"http://www.w3.org/2000/svg\" {size} font-family=\"sans-serif\" font-size=\"12\">");
        Line(svg, $"<rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>");
        Line(svg, $"<text x=\"12\" y=\"20\" font-size=\"15\" font-weight=\"bold\">{comparison.Group}</text>");
        Line(svg, $"<text x=\"12\" y=\"38\" fill=\"#555\">{Escape(comparison.Description)}</text>");
        int y = Top;
        foreach (IGrouping<int, Measurement> block in blocks)
        {
            Line(svg, $"<text x=\"12\" y=\"{y + 12}\" font-weight=\"bold\">n = {block.Key:N0}</text>");
            y += BlockGap - 8;
            int colour = 0;
            foreach (Measurement measured in block)
            {
                DrawBar(svg, measured, y, Palette[colour++ % Palette.Length]);
                y += BarHeight;
            }
            y += 8;
        }
        double baselineX = LabelWidth + BarsWidth / RatioShownMax;
        Line(svg, $"<line x1=\"{baselineX}\" y1=\"{Top - 8}\" x2=\"{baselineX}\" y2=\"{y}\" stroke=\"#333\" stroke-dasharray=\"4 3\"/>");
        Line(svg, $"</svg>");
        return svg.ToString();
    }

    private static void DrawBar(StringBuilder svg, Measurement measured, int y, string colour)
    {
        double length = Math.Min(measured.Ratio, RatioShownMax) / RatioShownMax * BarsWidth;
        string cut = measured.Ratio > RatioShownMax ? " »" : "";
        Line(svg, $"<text x=\"{LabelWidth - 8}\" y=\"{y + 12}\" text-anchor=\"end\">{measured.Variant}</text>");
        Line(svg, $"<rect x=\"{LabelWidth}\" y=\"{y + 2}\" width=\"{length:0.#}\" height=\"{BarHeight - 4}\" fill=\"{colour}\"/>");
        Line(svg,
            $"<text x=\"{LabelWidth + BarsWidth + 6}\" y=\"{y + 12}\">{measured.Ratio:0.00}{cut} ({measured.NsPerEvent:0} ns)</text>");
    }

    private static void Line(StringBuilder svg, FormattableString text) =>
        svg.Append(text.ToString(CultureInfo.InvariantCulture)).Append('\n');

    private static string Escape(string text) =>
        text.Replace("&", "&amp;", StringComparison.Ordinal).Replace("<", "&lt;", StringComparison.Ordinal);
}
