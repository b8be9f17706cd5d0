using System.CommandLine;

namespace Vmm.Tool;

/// <summary>An option that takes one of a few words.</summary>
internal sealed class ChoiceOption : TextOption
{
    private readonly string[] _choices;

    /// <param name="name">The option.</param>
    /// <param name="description">For the help.</param>
    /// <param name="standard">The word if none is given; null for none.</param>
    /// <param name="choices">The words.</param>
    internal ChoiceOption(string name, string description, string? standard, params string[] choices)
        : base(name, string.Join('|', choices), description)
    {
        _choices = choices;
        if (standard is not null) DefaultValueFactory = _ => standard;
    }

    /// <summary>The words.</summary>
    internal string[] Choices => _choices;

    /// <summary>The word that was given, or the standard one.</summary>
    internal string? In(ParseResult parsed) => parsed.GetValue(this)?.ToLowerInvariant();

    private protected override string? Complain(string text) =>
        Array.IndexOf(_choices, text.ToLowerInvariant()) >= 0
            ? null : $"give {string.Join(", ", _choices, 0, _choices.Length - 1)} or {_choices[^1]}";
}
