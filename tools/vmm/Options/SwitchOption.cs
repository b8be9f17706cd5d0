using System.CommandLine;

namespace Vmm.Tool;

/// <summary>An option that turns something on, or off if it says so: <c>--rng</c>, <c>--rng false</c>.</summary>
internal sealed class SwitchOption : TextOption
{
    private readonly bool _standard;

    internal SwitchOption(string name, string description, bool standard = false) : base(name, "true|false", description)
    {
        _standard = standard;
        Arity = ArgumentArity.ZeroOrOne;
        if (standard) DefaultValueFactory = _ => "true";
    }

    /// <summary>Whether it is on.</summary>
    internal bool In(ParseResult parsed) =>
        parsed.GetResult(this) is null ? _standard : !string.Equals(parsed.GetValue(this), "false", StringComparison.OrdinalIgnoreCase);

    private protected override string? Complain(string text) =>
        text.Length == 0 || bool.TryParse(text, out _) ? null : "give true or false";
}
