using System.Buffers;
using System.Globalization;
using System.Text;

namespace Vmm.Devices;

/// <summary>
/// The text that describes a device: <c>key=value</c> pairs and flags, separated by commas. A comma inside of a value is written twice. The
/// first part may be the value of one key alone: <c>disk.img,ro</c> is <c>path=disk.img,ro</c>; if it is empty, there is no such value.
/// </summary>
internal sealed class SpecText
{
    private const string Limit = "limit=";

    private readonly string _text;
    private readonly Dictionary<string, string> _values = [];

    private SpecText(string text) => _text = text;

    /// <param name="text">The text.</param>
    /// <param name="keys">What it may have a value for.</param>
    /// <param name="flags">What it may have without a value.</param>
    /// <param name="first">The key that the first part is the value of if it names none; null if there is no such key.</param>
    /// <exception cref="DeviceSpecException">A key or flag does not exist, is given twice, or lacks its value.</exception>
    internal static SpecText Parse(string text, string[] keys, string[]? flags = null, string? first = null)
    {
        SpecText parsed = new(text);
        flags ??= [];
        foreach ((string name, string? value) in Parts(text, first, hasLimit: keys.Contains(LimitSpec.Keys[0])))
        {
            if (value is null ? !flags.Contains(name) : !keys.Contains(name))
            {
                string kind = value is null ? "flag" : "key";
                string known = string.Join(", ", keys.Select(key => key + "=…").Concat(flags));
                throw parsed.Refused(known.Length == 0
                    ? $"unknown {kind} '{name}': there is nothing to say here"
                    : $"unknown {kind} '{name}', there are {known} (a comma inside of a value is written twice)");
            }
            if (value is "") throw parsed.Refused($"the value of '{name}' is missing");
            if (!parsed._values.TryAdd(name, value ?? "")) throw parsed.Refused($"'{name}' is given twice");
        }
        return parsed;
    }

    /// <summary>Takes a text apart: keys with their values, and flags with null.</summary>
    /// <param name="text">The text.</param>
    /// <param name="first">The key that the first part is the value of if it names none; null if there is no such key.</param>
    /// <param name="hasLimit">Whether 'limit=iops=5' is 'iops=5': a word that says what the key is for.</param>
    internal static IEnumerable<(string Name, string? Value)> Parts(string text, string? first, bool hasLimit)
    {
        if (text.Length == 0 && first is null) yield break;
        foreach (string whole in Split(text))
        {
            bool isLimit = hasLimit && whole.StartsWith(Limit, StringComparison.Ordinal);
            string part = isLimit ? whole[Limit.Length..] : whole;
            int equals = EndOfKey(part);
            if (equals >= 0) yield return (part[..equals], part[(equals + 1)..]);
            else if (first is null || isLimit) yield return (part, null);
            else if (part.Length > 0 || text.Length == 0) yield return (first, part);
            first = null;
        }
    }

    /// <summary>Puts a text together: the reverse of <see cref="Parts"/>.</summary>
    internal static string Join(IEnumerable<(string Name, string? Value)> parts, string? first) =>
        Join(parts.Select(part => part.Value is null ? part.Name : $"{part.Name}={part.Value}"), first);

    internal bool Has(string flag) => _values.ContainsKey(flag);

    /// <summary>A value; null if it is not given.</summary>
    internal string? Value(string key) => _values.GetValueOrDefault(key);

    /// <summary>A value that must be there.</summary>
    internal string Required(string key) => Value(key) ?? throw Refused($"'{key}=…' is missing");

    /// <summary>A whole number from a range; null if it is not given.</summary>
    internal int? Number(string key, int min, int max)
    {
        if (Value(key) is not { } text) return null;
        return int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int value) && value >= min && value <= max
            ? value
            : throw Refused($"'{key}={text}': give a whole number from {min} to {max}");
    }

    /// <summary>A number of bytes such as <c>512</c>, <c>64K</c>, <c>1M</c>, <c>1G</c>; null if it is not given.</summary>
    internal long? Size(string key, long max)
    {
        if (Value(key) is not { } text) return null;
        int shift = char.ToUpperInvariant(text[^1]) switch { 'K' => 10, 'M' => 20, 'G' => 30, _ => 0 };
        bool isNumber = long.TryParse(shift == 0 ? text : text[..^1], NumberStyles.None, CultureInfo.InvariantCulture, out long bytes);
        return isNumber && bytes > 0 && bytes <= max >> shift
            ? bytes << shift
            : throw Refused($"'{key}={text}': give a size from 1 to {max} bytes, such as 64K or 1M");
    }

    /// <summary>One of some words; null if it is not given.</summary>
    internal T? Choice<T>(string key, params ReadOnlySpan<(string Word, T Value)> choices) where T : struct
    {
        if (Value(key) is not { } text) return null;
        List<string> words = [];
        foreach ((string word, T value) in choices)
        {
            if (word == text) return value;
            words.Add(word);
        }
        throw Refused($"'{key}={text}': give {string.Join(", ", words[..^1])} or {words[^1]}");
    }

    internal DeviceSpecException Refused(string why) => new($"'{_text}': {why}");

    private static readonly SearchValues<char> KeyLetters = SearchValues.Create("abcdefghijklmnopqrstuvwxyz-");

    /// <summary>Where a part's key ends: keys are lower-case words, so that a URI or a path with '=' in it has none.</summary>
    private static int EndOfKey(string part)
    {
        int equals = part.IndexOf('=', StringComparison.Ordinal);
        return equals > 0 && part.AsSpan(0, equals).IndexOfAnyExcept(KeyLetters) < 0 ? equals : -1;
    }

    internal static string Join(IEnumerable<string> parts, string? first)
    {
        string text = string.Join(',', parts.Select(Escaped));
        // A flag that stands first would be taken for the value of that key.
        return first is not null && parts.FirstOrDefault() is { } head && EndOfKey(head) < 0 ? ',' + text : text;
    }

    private static string Escaped(string part) => part.Replace(",", ",,", StringComparison.Ordinal);

    internal static IEnumerable<string> Split(string text)
    {
        StringBuilder part = new();
        for (int i = 0; i < text.Length; i++)
        {
            if (text[i] != ',')
            {
                part.Append(text[i]);
            }
            else if (i + 1 < text.Length && text[i + 1] == ',')
            {
                part.Append(',');
                i++;
            }
            else
            {
                yield return part.ToString();
                part.Clear();
            }
        }
        yield return part.ToString();
    }
}
