namespace Vmm.Devices.Simulation;

/// <summary>What followed a command, by the names of its parameters.</summary>
internal sealed class ShellArguments
{
    private readonly Dictionary<string, object> _values = [];

    /// <summary>Takes a word for a parameter.</summary>
    /// <returns>Null if it fits; else a sentence.</returns>
    internal string? Add(string parameter, string word)
    {
        parameter = parameter.Trim('[', ']', '…');
        string? failure = ShellParameter.Read(parameter, word, out object value);
        if (failure is null) _values[parameter] = value;
        return failure;
    }

    /// <summary>A number that must be there.</summary>
    internal ulong Number(string parameter) => (ulong)_values[parameter];

    /// <summary>A number, or the standard one.</summary>
    internal ulong Number(string parameter, ulong standard) => _values.TryGetValue(parameter, out object? value) ? (ulong)value : standard;

    /// <summary>A word, or the rest of the command.</summary>
    internal string Text(string parameter) => (string)_values[parameter];

    /// <summary>Bytes that were typed in hexadecimal.</summary>
    internal byte[] Bytes(string parameter) => (byte[])_values[parameter];
}
