using System.CommandLine;
using System.CommandLine.Parsing;

namespace Vmm.Tool;

/// <summary>
/// An option with one value, which System.CommandLine takes as a text and this class checks: a wrong value is answered by a sentence that
/// names the right ones.
/// </summary>
internal class TextOption : Option<string?>
{
    private readonly Func<string, string?>? _check;

    /// <param name="name">The option.</param>
    /// <param name="helpName">What its value looks like.</param>
    /// <param name="description">For the help.</param>
    /// <param name="check">Says what is wrong with a text; null for nothing.</param>
    internal TextOption(string name, string helpName, string description, Func<string, string?>? check = null) : base(name)
    {
        _check = check;
        HelpName = helpName;
        Description = description;
        CustomParser = Understand;
    }

    /// <summary>Whether an empty text makes sense. No name, path or address is empty.</summary>
    internal bool MayBeEmpty { get; init; }

    /// <summary>Another option in whose place this one may stand: one of the two is needed.</summary>
    internal TextOption? InsteadOf { get; init; }

    /// <summary>What is wrong with a text; null for nothing.</summary>
    private protected virtual string? Complain(string text) => _check?.Invoke(text);

    /// <summary>What is said of an empty text, which most often is a variable of a shell that has not been set.</summary>
    internal static string Empty(string wanted) => $"it is empty, perhaps a variable that is not set: give {wanted}";

    private string Understand(ArgumentResult result)
    {
        string text = result.Tokens.Count == 0 ? "" : result.Tokens[0].Value;
        string? complaint = Complain(text);
        if (complaint is null && text.Length == 0 && result.Tokens.Count > 0 && !MayBeEmpty) complaint = Empty(HelpName!);
        if (complaint is not null) result.AddError($"{Name} '{text}': {complaint}");
        return text;
    }
}
