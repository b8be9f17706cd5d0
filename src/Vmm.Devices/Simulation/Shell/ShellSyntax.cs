using System.Diagnostics.CodeAnalysis;

namespace Vmm.Devices.Simulation;

/// <summary>
/// The language of a guest's shell: commands separated by <c>;</c>, words separated by blanks. Public to check commands before a run.
/// </summary>
internal static class ShellSyntax
{
    /// <summary>Every command, in the order of <c>help</c>.</summary>
    internal static IReadOnlyList<ShellCommand> Commands { get; } =
    [
        .. MachineCommands.First,
        .. DiskCommands.All,
        .. EntropyCommands.All,
        .. BalloonCommands.All,
        .. ConsoleCommands.All,
        .. VsockCommands.All,
        .. NetCommands.All,
        .. MachineCommands.Last,
    ];

    /// <summary>The first words of all commands, which Tab completes.</summary>
    internal static IReadOnlyList<string> Names { get; } = [.. Commands.Select(command => command.Name.Split(' ')[0]).Distinct()];

    /// <summary>Checks a line of commands for its form.</summary>
    /// <returns>Null if every command is one the shell knows; else a sentence about the first that is not.</returns>
    internal static string? Check(string line)
    {
        foreach (string text in Split(line))
        {
            if (!TryParse(text, out _, out string? error)) return error;
        }
        return null;
    }

    /// <summary>The commands of a line; empty ones are left out.</summary>
    internal static string[] Split(string line) =>
        line.Split([';', '\n'], StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);

    /// <summary>Reads one command.</summary>
    internal static bool TryParse(string text, [NotNullWhen(true)] out ShellInvocation? invocation, [NotNullWhen(false)] out string? error)
    {
        invocation = null;
        string[] words = text.Split([' ', '\t'], StringSplitOptions.RemoveEmptyEntries);
        if (!TryFind(words, out ShellCommand? command, out error)) return false;
        string[] rest = words[command.Name.Split(' ').Length..];
        if (rest.Length < command.ParametersMin || rest.Length > command.ParametersMax)
        {
            error = $"{command.Name}: {(rest.Length < command.ParametersMin ? "something is missing" : "too much")}, use '{command.Usage}'";
            return false;
        }
        ShellArguments arguments = new();
        for (int i = 0; i < Math.Min(command.Parameters.Length, rest.Length); i++)
        {
            string parameter = command.Parameters[i];
            string word = parameter.EndsWith('…') ? string.Join(' ', rest[i..]) : rest[i];
            if (arguments.Add(parameter, word) is not { } failure) continue;
            error = $"{command.Name}: {failure}";
            return false;
        }
        error = null;
        invocation = new ShellInvocation(command, arguments);
        return true;
    }

    private static bool TryFind(string[] words, [NotNullWhen(true)] out ShellCommand? found, [NotNullWhen(false)] out string? error)
    {
        error = null;
        string first = words.Length == 0 ? "" : words[0];
        string both = words.Length < 2 ? "" : $"{first} {words[1]}";
        found = Commands.FirstOrDefault(command => command.Name == both) ?? Commands.FirstOrDefault(command => command.Name == first);
        if (found is not null) return true;
        string[] family = [.. Commands.Where(command => command.Name.StartsWith(first + " ", StringComparison.Ordinal))
            .Select(command => $"'{command.Usage}'")];
        error = family.Length == 0 ? $"unknown command '{first}': try 'help'" : $"{first}: use {string.Join(" or ", family)}";
        return false;
    }
}
