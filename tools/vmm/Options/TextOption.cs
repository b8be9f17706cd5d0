using System.CommandLine;
using System.CommandLine.Parsing;

namespace Vmm.Tool;

/// <summary>
/// An option with one text, which is understood here: a wrong one is answered by a sentence that names the right ones. All options with one value are
/// texts to System.CommandLine, for it is compiled anew for each type of number and name it converts, and a start is mostly compiling.
/// </summary>
internal class TextOption : Option<string?>
{
    internal TextOption(string name, string helpName, string description) : base(name)
    {
        HelpName = helpName;
        Description = description;
        CustomParser = Understand;
    }

    /// <summary>What is wrong with a text; null for nothing.</summary>
    private protected virtual string? Complain(string text) => null;

    private string Understand(ArgumentResult result)
    {
        string text = result.Tokens.Count == 0 ? "" : result.Tokens[0].Value;
        if (Complain(text) is { } complaint) result.AddError($"{Name} '{text}': {complaint}");
        return text;
    }
}
