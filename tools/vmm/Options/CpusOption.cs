using System.CommandLine;
using System.Globalization;

namespace Vmm.Tool;

/// <summary>An option that takes the numbers of processors: <c>0,2,3</c>.</summary>
internal sealed class CpusOption : TextOption
{
    private const int CpuMax = 1023;

    /// <param name="description">For the help.</param>
    internal CpusOption(string description) : base("--cpus", "A[,B…]", description)
    {
    }

    /// <summary>The processors; empty if none were given.</summary>
    internal int[] In(ParseResult parsed) => parsed.GetValue(this) is { } text && TryParse(text) is { } cpus ? cpus : [];

    private protected override string? Complain(string text) =>
        TryParse(text) is null ? "give the numbers of processors, separated by commas" : null;

    private static int[]? TryParse(string text)
    {
        string[] parts = text.Split(',');
        int[] cpus = new int[parts.Length];
        for (int i = 0; i < parts.Length; i++)
        {
            if (!int.TryParse(parts[i], NumberStyles.None, CultureInfo.InvariantCulture, out cpus[i]) || cpus[i] > CpuMax) return null;
        }
        return cpus;
    }
}
