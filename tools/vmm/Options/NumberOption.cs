using System.CommandLine;
using System.Globalization;

namespace Vmm.Tool;

/// <summary>An option that takes a whole number from a range.</summary>
internal sealed class NumberOption : TextOption
{
    internal NumberOption(string name, string helpName, string what, int min, int max, int standard)
        : base(name, helpName, $"{what}, {min} to {max}.")
    {
        Min = min;
        Max = max;
        DefaultValueFactory = _ => standard.ToString(CultureInfo.InvariantCulture);
    }

    internal int Min { get; }

    internal int Max { get; }

    /// <summary>The number that was given, or the standard one.</summary>
    internal int In(ParseResult parsed) =>
        TryParse(parsed.GetValue(this), out int value) ? value : throw new InvalidOperationException($"{Name} was not looked at");

    private protected override string? Complain(string text) =>
        TryParse(text, out int value) && value >= Min && value <= Max ? null : $"give a whole number from {Min} to {Max}";

    private static bool TryParse(string? text, out int value) =>
        int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out value);
}
