using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using System.Text;

namespace Vmm.Tool;

/// <summary>
/// Writes what is in force for a command as a configuration file, with where each value comes from. Standard values are comments, so
/// that the file says what was said and no more.
/// </summary>
internal static class ConfigListing
{
    /// <summary>Where the comments begin, if there is room.</summary>
    private const int CommentColumn = 40;

    /// <param name="parsed">The command line, merged with the file.</param>
    /// <param name="file">The file; null for none.</param>
    /// <param name="entries">What of it is in force.</param>
    internal static string Of(ParseResult parsed, ConfigFile? file, IReadOnlyList<ConfigEntry> entries)
    {
        StringBuilder scalars = new(), tables = new();
        Command command = parsed.CommandResult.Command;
        Line(scalars, $"{ConfigReader.CommandName} = {Quoted(command.Name)}", file?.LineOf(file.CommandAt) ?? "command line");
        foreach (Setting setting in Setting.Of(command).Where(setting => !setting.IsSynonym))
        {
            OptionResult? given = parsed.GetResult(setting.Option) is { Implicit: false } result ? result : null;
            if (given is null)
            {
                if (setting.Standard is { } standard) Line(scalars, $"#{setting.Name} = {Literal(setting.Kinds, standard)}", "default");
                continue;
            }
            ConfigEntry[] said = [.. entries.Where(entry => entry.Setting.Option.Name == setting.Option.Name)];
            string[] texts = given.Tokens.Count == 0 ? ["true"] : [.. given.Tokens.Select(token => token.Value)];
            for (int i = 0; i < texts.Length; i++)
                Value(setting, texts[i], i < said.Length ? file!.LineOf(said[i].At) : "command line", scalars, tables);
        }
        return $"{scalars}{tables}";
    }

    private static void Value(Setting setting, string text, string origin, StringBuilder scalars, StringBuilder tables)
    {
        bool isWord = setting.Kinds.HasFlag(ValueKinds.Boolean) && (text.Length == 0 || bool.TryParse(text, out _));
        if (setting.Option is not DeviceOption device || isWord)
        {
            Line(scalars, $"{setting.Name} = {Literal(isWord ? ValueKinds.Boolean : setting.Kinds, text)}", origin);
            return;
        }
        tables.Append('\n');
        Line(tables, setting.Kinds.HasFlag(ValueKinds.Tables) ? $"[[{setting.Name}]]" : $"[{setting.Name}]", origin);
        foreach ((string key, string? value) in device.Kind.Split(text))
        {
            ValueKinds kinds = setting.Keys.FirstOrDefault(each => each.Name == key)?.Kinds ?? ValueKinds.Text;
            tables.Append($"{key} = {(value is null ? "true" : Literal(kinds, value))}\n");
        }
    }

    /// <summary>A value as TOML writes it.</summary>
    private static string Literal(ValueKinds kinds, string text)
    {
        if (kinds.HasFlag(ValueKinds.Boolean)) return text.Equals("false", StringComparison.OrdinalIgnoreCase) ? "false" : "true";
        if (kinds.HasFlag(ValueKinds.Integer)
            && long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long whole))
            return whole.ToString(CultureInfo.InvariantCulture);
        if (kinds.HasFlag(ValueKinds.Number)
            && double.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double number))
            return number.ToString(CultureInfo.InvariantCulture);
        return Quoted(text);
    }

    private static string Quoted(string text)
    {
        StringBuilder quoted = new("\"");
        foreach (char letter in text)
        {
            if (letter is '"' or '\\') quoted.Append('\\').Append(letter);
            else if (letter is < ' ' or '\u007f') quoted.Append($"\\u{(int)letter:X4}");
            else quoted.Append(letter);
        }
        return quoted.Append('"').ToString();
    }

    private static void Line(StringBuilder text, string line, string origin) =>
        text.Append($"{line.PadRight(CommentColumn - 1)} # {Printable.Of(origin)}\n");
}
