using System.Globalization;

namespace Vmm.Tool;

/// <summary>The value of an option that describes a device: <c>key=value</c> pairs and flags, separated by commas.</summary>
internal sealed class DeviceArgument
{
    private readonly string _option;
    private readonly string _text;
    private readonly Dictionary<string, string> _values = [];

    private DeviceArgument(string option, string text)
    {
        _option = option;
        _text = text;
    }

    /// <exception cref="UsageException">A key or flag that does not exist, is given twice, or lacks its value.</exception>
    internal static DeviceArgument Parse(string option, string text, string[] keys, params string[] flags)
    {
        DeviceArgument argument = new(option, text);
        foreach (string part in text.Split(','))
        {
            int equals = part.IndexOf('=', StringComparison.Ordinal);
            string name = equals < 0 ? part : part[..equals];
            if (equals < 0 ? !flags.Contains(name) : !keys.Contains(name))
                throw argument.Refused($"unknown {(equals < 0 ? "flag" : "key")} '{name}', there are {string.Join(", ", keys.Select(key => key + "=…").Concat(flags))}");
            if (equals == part.Length - 1) throw argument.Refused($"the value of '{name}' is missing");
            if (!argument._values.TryAdd(name, equals < 0 ? "" : part[(equals + 1)..])) throw argument.Refused($"'{name}' is given twice");
        }
        return argument;
    }

    internal bool Has(string flag) => _values.ContainsKey(flag);

    /// <summary>A value that must be there.</summary>
    internal string Required(string key) => _values.TryGetValue(key, out string? value) ? value : throw Refused($"'{key}=…' is missing");

    /// <summary>A value, or the standard one.</summary>
    internal string Optional(string key, string standard) => _values.GetValueOrDefault(key, standard);

    /// <summary>A whole number from a range, or the standard one.</summary>
    internal int Number(string key, int min, int max, int standard)
    {
        if (!_values.TryGetValue(key, out string? text)) return standard;
        return int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int value) && value >= min && value <= max
            ? value
            : throw Refused($"'{key}={text}': give a whole number from {min} to {max}");
    }

    /// <summary>A whole number from a range that must be there.</summary>
    internal int RequiredNumber(string key, int min, int max)
    {
        _ = Required(key);
        return Number(key, min, max, min);
    }

    internal UsageException Refused(string why) => new($"{_option} '{_text}': {why}");
}
