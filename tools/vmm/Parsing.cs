using System.Globalization;

namespace Vmm.Tool;

/// <summary>Values that several commands take.</summary>
internal static class Parsing
{
    /// <summary>A list of processors: <c>0,2,3</c>.</summary>
    /// <exception cref="UsageException">Something in it is no processor's number.</exception>
    internal static int[] Cpus(string option, string? text) => text is null ? [] :
    [
        .. text.Split(',').Select(part => int.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out int cpu) && cpu < 1024
            ? cpu
            : throw new UsageException($"{option} '{text}': give the numbers of processors, separated by commas")),
    ];
}
