using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;

namespace Vmm.Tool;

/// <summary>Options whose wrong values are answered by a sentence that names the right ones.</summary>
internal static class Parsing
{
    /// <summary>An option that takes a whole number from a range.</summary>
    internal static Option<int> Number(string name, string helpName, string description, int min, int max, int standard) => new(name)
    {
        HelpName = helpName,
        Description = $"{description}, {min} to {max}.",
        DefaultValueFactory = _ => standard,
        CustomParser = result => Parse(result, name, min, max),
    };

    /// <summary>A list of processors: <c>0,2,3</c>.</summary>
    /// <exception cref="UsageException">Something in it is no processor's number.</exception>
    internal static int[] Cpus(string option, string? text) => text is null ? [] :
    [
        .. text.Split(',').Select(part => int.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out int cpu) && cpu < 1024
            ? cpu
            : throw new UsageException($"{option} '{text}': give the numbers of processors, separated by commas")),
    ];

    private static int Parse(ArgumentResult result, string name, int min, int max)
    {
        string text = result.Tokens.Count == 0 ? "" : result.Tokens[0].Value;
        if (int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out int value) && value >= min && value <= max)
            return value;
        result.AddError($"{name} '{text}': give a whole number from {min} to {max}");
        return min;
    }
}
