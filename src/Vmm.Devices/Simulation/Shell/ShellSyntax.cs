using System.Diagnostics.CodeAnalysis;
using System.Globalization;

namespace Vmm.Devices.Simulation;

/// <summary>The language of a guest's shell: commands separated by <c>;</c>, words separated by blanks. Public to check commands before a run.</summary>
public static class ShellSyntax
{
    private const string HexPrefix = "0x";

    /// <summary>Each command: its name, what follows it, and what it does. In the order of <c>help</c>.</summary>
    internal static IReadOnlyList<(string Name, ShellVerb Verb, string[] Parameters, string Summary)> Commands { get; } =
    [
        ("help", ShellVerb.Help, [], "this list"),
        ("lsdev", ShellVerb.ListDevices, [], "the devices and their drivers"),
        ("sha256", ShellVerb.Sha256, ["DISK"], "checksum of the whole disk"),
        ("read", ShellVerb.Read, ["DISK", "OFFSET", "LENGTH"], "print bytes in hexadecimal"),
        ("write", ShellVerb.Write, ["DISK", "OFFSET", "HEX"], "write bytes"),
        ("fill", ShellVerb.Fill, ["DISK", "SEED"], "write the whole disk in random order, all CPUs at once"),
        ("verify", ShellVerb.Verify, ["DISK", "SEED"], "check what fill wrote, in another order"),
        ("flush", ShellVerb.Flush, ["DISK"], "make what was written durable"),
        ("trim", ShellVerb.Trim, ["DISK", "OFFSET", "LENGTH"], "give sectors back to the host"),
        ("rng", ShellVerb.Random, ["LENGTH"], "print random bytes of the device in hexadecimal"),
        ("stats", ShellVerb.Statistics, [], "what the drivers did so far"),
        ("poweroff", ShellVerb.PowerOff, [], "end the machine"),
    ];

    /// <summary>The names of all commands.</summary>
    internal static IReadOnlyList<string> Names { get; } = [.. Commands.Select(command => command.Name)];

    /// <summary>Checks a line of commands for its form.</summary>
    /// <returns>Null if every command is one the shell knows; else a sentence about the first that is not.</returns>
    public static string? Check(string line)
    {
        ArgumentNullException.ThrowIfNull(line);
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
    internal static bool TryParse(string text, [NotNullWhen(true)] out ShellCommand? command, [NotNullWhen(false)] out string? error)
    {
        command = null;
        string[] words = text.Split([' ', '\t'], StringSplitOptions.RemoveEmptyEntries);
        string name = words.Length == 0 ? "" : words[0];
        var known = Commands.FirstOrDefault(known => known.Name == name);
        if (known.Name is null)
        {
            error = $"unknown command '{name}': try 'help'";
            return false;
        }
        if (words.Length - 1 != known.Parameters.Length)
        {
            error = $"{name}: {(words.Length - 1 < known.Parameters.Length ? "something is missing" : "too much")}, use '{Usage(name, known.Parameters)}'";
            return false;
        }
        ShellCommand parsed = new(known.Verb);
        error = null;
        for (int i = 0; i < known.Parameters.Length && error is null; i++)
            error = Apply(ref parsed, known.Parameters[i], words[i + 1]);
        if (error is null) command = parsed;
        else error = $"{name}: {error}";
        return command is not null;
    }

    /// <summary>A command with what follows it.</summary>
    internal static string Usage(string name, string[] parameters) => string.Join(' ', [name, .. parameters]);

    private static string? Apply(ref ShellCommand command, string parameter, string word)
    {
        ulong number = 0;
        if (parameter is "OFFSET" or "LENGTH" or "SEED" && !TryParseNumber(word, out number))
            return $"'{word}' is no {parameter}: give a number such as 4096, 0x1000 or 4K";
        switch (parameter)
        {
            case "DISK":
                command = command with { Device = word };
                break;
            case "OFFSET":
                command = command with { Offset = number };
                break;
            case "LENGTH":
                command = command with { Length = number };
                break;
            case "SEED":
                command = command with { Seed = number };
                break;
            default:
                if (!TryParseHex(word, out byte[] data)) return $"'{word}' is no HEX: give an even number of hexadecimal digits";
                command = command with { Data = data };
                break;
        }
        return null;
    }

    private static bool TryParseHex(string word, out byte[] data)
    {
        data = new byte[word.Length / 2];
        return word.Length > 0 && Convert.FromHexString(word, data, out _, out int written) == System.Buffers.OperationStatus.Done
            && written == data.Length;
    }

    /// <summary>Decimal or 0x…, with K, M or G for powers of 1024.</summary>
    private static bool TryParseNumber(string word, out ulong number)
    {
        if (word.StartsWith(HexPrefix, StringComparison.OrdinalIgnoreCase))
            return ulong.TryParse(word.AsSpan(HexPrefix.Length), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out number);
        int shift = word.Length == 0 ? 0 : char.ToUpperInvariant(word[^1]) switch { 'K' => 10, 'M' => 20, 'G' => 30, _ => 0 };
        ReadOnlySpan<char> digits = shift == 0 ? word : word.AsSpan(0, word.Length - 1);
        if (!ulong.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out number) || number > ulong.MaxValue >> shift) return false;
        number <<= shift;
        return true;
    }
}
