using System.CommandLine;
using System.Globalization;

namespace Vmm.Tool;

/// <summary>An option that takes the numbers of processors: <c>0,2,4-7</c>.</summary>
internal sealed class CpusOption : TextOption
{
    private const int CpuMax = 1023;

    /// <param name="description">For the help.</param>
    internal CpusOption(string description) : base("--cpus", "A[-B][,C…]", description)
    {
    }

    /// <summary>The processors; empty if none were given.</summary>
    internal int[] In(ParseResult parsed) => parsed.GetValue(this) is { } text && TryParse(text) is { } cpus ? cpus : [];

    private protected override string? Complain(string text) =>
        TryParse(text) is null ? "give the numbers of processors, separated by commas, or ranges such as 0-3" : null;

    private static int[]? TryParse(string text)
    {
        List<int> cpus = [];
        foreach (string part in text.Split(','))
        {
            int dash = part.IndexOf('-', StringComparison.Ordinal);
            if (!TryParse(dash < 0 ? part : part[..dash], out int first) || !TryParse(part[(dash + 1)..], out int last) || last < first)
                return null;
            for (int cpu = first; cpu <= last; cpu++) cpus.Add(cpu);
        }
        return [.. cpus];
    }

    private static bool TryParse(string text, out int cpu) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out cpu) && cpu <= CpuMax;
}
