using System.CommandLine;
using System.CommandLine.Parsing;

namespace Vmm.Tool;

/// <summary>The words of a command line that was understood, for a process that does the same.</summary>
internal static class CommandWords
{
    /// <summary>
    /// The command and its options, each value in one word with its option, so that one that begins with '-' is understood.
    /// </summary>
    /// <param name="parsed">The command line, in which the configuration file's options are too.</param>
    internal static string[] Of(ParseResult parsed) =>
    [
        parsed.CommandResult.Command.Name,
        .. parsed.CommandResult.Children.OfType<OptionResult>()
            .Where(result => !result.Implicit && result.Option is not ConfigOption).SelectMany(WordsOf),
    ];

    /// <summary>The words of some options, as far as they were given.</summary>
    internal static string[] Of(ParseResult parsed, IReadOnlyCollection<Option> options) =>
    [
        .. parsed.CommandResult.Children.OfType<OptionResult>()
            .Where(result => !result.Implicit && options.Contains(result.Option)).SelectMany(WordsOf),
    ];

    private static IEnumerable<string> WordsOf(OptionResult result) => result.Tokens.Count == 0
        ? [result.Option.Name]
        : result.Tokens.SelectMany(token => token.Value.Length > 0 ? [$"{result.Option.Name}={token.Value}"]
            : (string[])[result.Option.Name, ""]);
}
