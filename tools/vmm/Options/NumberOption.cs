using System.CommandLine;
using System.Globalization;

namespace Vmm.Tool;

/// <summary>An option that takes a whole number from a range.</summary>
internal sealed class NumberOption : TextOption
{
    private readonly int _min;
    private readonly int _max;

    internal NumberOption(string name, string helpName, string what, int min, int max, int standard) : base(name, helpName, $"{what}, {min} to {max}.")
    {
        _min = min;
        _max = max;
        DefaultValueFactory = _ => standard.ToString(CultureInfo.InvariantCulture);
    }

    /// <summary>The number that was given, or the standard one.</summary>
    internal int In(ParseResult parsed) => TryParse(parsed.GetValue(this), out int value) ? value : throw new InvalidOperationException($"{Name} was not looked at");

    private protected override string? Complain(string text) =>
        TryParse(text, out int value) && value >= _min && value <= _max ? null : $"give a whole number from {_min} to {_max}";

    private static bool TryParse(string? text, out int value) => int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out value);
}
