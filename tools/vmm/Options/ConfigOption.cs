using System.CommandLine;

namespace Vmm.Tool;

/// <summary><c>--config</c>: a file that says what the command line does not say.</summary>
internal sealed class ConfigOption : TextOption
{
    internal ConfigOption() : base("--config", "FILE",
        "Take options from a file in TOML, see 'vmm check'; what the command line gives replaces what the file says of the same option.")
    {
    }

    /// <summary>The file's path; null if none was given, or if the command takes none.</summary>
    internal static string? PathIn(ParseResult parsed)
    {
        ConfigOption? option = Of(parsed.CommandResult.Command);
        return option is not null && parsed.GetResult(option) is { Tokens: [var path, ..] } ? path.Value : null;
    }

    /// <summary>The option of a command that takes it.</summary>
    internal static ConfigOption? Of(Command command)
    {
        foreach (Option option in command.Options)
        {
            if (option is ConfigOption found) return found;
        }
        return null;
    }
}
