using System.CommandLine;
using System.Globalization;
using Vmm.Devices;

namespace Vmm.Tool;

/// <summary>
/// Turns the values of a configuration file into what the command line would say: <c>reactors = 2</c> is <c>--reactors=2</c>, a table
/// <c>[[disk]]</c> with <c>path = "a.img"</c> and <c>ro = true</c> is <c>--disk=path=a.img,ro</c>. What a value may be is for the option
/// to say, which then gets it; here only its kind is looked at.
/// </summary>
internal sealed class ConfigReader
{
    /// <summary>The name of the setting that says which command a file is for.</summary>
    internal const string CommandName = "command";

    private readonly List<Mistake> _mistakes;
    private readonly List<ConfigEntry> _entries = [];
    private readonly HashSet<string> _spoiled = [];

    private ConfigReader(List<Mistake> mistakes) => _mistakes = mistakes;

    /// <summary>Finds out which command a file is for.</summary>
    /// <returns>Null if it does not say so, which is a mistake.</returns>
    internal static Command? CommandOf(TomlTable root, RootCommand tree, List<Mistake> mistakes)
    {
        Command[] commands = [.. Setting.CommandsOf(tree)];
        string all = string.Join(" or ", commands.Select(command => $"{CommandName} = \"{command.Name}\""));
        TomlNode? said = root.Find(CommandName);
        Command? found = Array.Find(commands, command => said is TomlScalar { Value: string name } && name == command.Name);
        if (said is TomlBroken) return null;
        if (said is null) mistakes.Add(new Mistake(0, $"'{CommandName}' is missing, which says what the file is for: begin with {all}"));
        else if (found is null) mistakes.Add(new Mistake(said.At, $"there is no such command to configure: give {all}"));
        return found;
    }

    /// <summary>Reads what a file says for its command.</summary>
    /// <returns>What it says, and the options of which something could not be read.</returns>
    internal static (IReadOnlyList<ConfigEntry> Entries, IReadOnlySet<string> Spoiled) Read(
        TomlTable root, Command command, List<Mistake> mistakes)
    {
        ConfigReader reader = new(mistakes);
        Setting[] settings = [.. Setting.Of(command)];
        string[] names = [CommandName, .. settings.Select(setting => setting.Name)];
        foreach (TomlItem item in root.Items)
        {
            (TomlName name, TomlNode value) = (item.Name, item.Value);
            if (name.Text == CommandName) continue;
            if (Array.Find(settings, setting => setting.Name == name.Text) is { } found) reader.Add(found, value);
            else if (reader.Unknown(name, $"'vmm {command.Name}'", names) is { } meant) reader._spoiled.Add($"--{meant}");
        }
        return (reader._entries, reader._spoiled);
    }

    private void Add(Setting setting, TomlNode value)
    {
        if (value is TomlArray array && setting.Kinds.HasFlag(ValueKinds.Tables))
        {
            foreach (TomlNode item in array.Items)
            {
                if (item is TomlTable table) AddDevice(setting, table);
                else Spoil(setting, Misplaced(setting, item));
            }
        }
        else if (value is TomlTable table && setting.Kinds.HasFlag(ValueKinds.Table)) AddDevice(setting, table);
        else if (TextOf(setting.Name, setting.Kinds, value, out Mistake? mistake) is { } text)
            _entries.Add(new ConfigEntry(setting, text, value.At, []));
        else Spoil(setting, mistake);
    }

    private static Mistake Misplaced(Setting setting, TomlNode item) =>
        new(item.At, $"'{setting.Name}' has a table for each device: {HowToSay(setting.Name, ValueKinds.Tables)}");

    private void Spoil(Setting setting, Mistake? mistake)
    {
        if (mistake is not null) _mistakes.Add(mistake);
        _spoiled.Add(setting.Option.Name);
    }

    private void AddDevice(Setting setting, TomlTable table)
    {
        IReadOnlyList<SpecKey> keys = setting.Keys;
        List<ConfigPart> parts = [];
        bool isWhole = true;
        foreach (TomlItem item in table.Items)
        {
            (TomlName name, TomlNode value) = (item.Name, item.Value);
            if (keys.FirstOrDefault(key => key.Name == name.Text) is not { } key)
            {
                isWhole = false;
                Unknown(name, $"'{setting.Name}'", [.. keys.Select(key => key.Name)]);
                continue;
            }
            string? text = TextOf(name.Text, key.Kinds, value, out Mistake? mistake);
            if (mistake is not null) _mistakes.Add(mistake);
            isWhole &= text is not null;
            if (text is not null && (!key.IsFlag || text == "true"))
                parts.Add(new ConfigPart(key.Name, key.IsFlag ? null : text, value.At));
        }
        // A device of which a part is wrong would have other mistakes for that.
        if (isWhole) _entries.Add(ConfigEntry.OfTable(setting, table.At, parts));
        else Spoil(setting, null);
    }

    /// <summary>The text of a value; null if it is of a kind that the setting does not take, or could not be read.</summary>
    private static string? TextOf(string name, ValueKinds kinds, TomlNode node, out Mistake? mistake)
    {
        mistake = null;
        if (node is TomlBroken) return null;
        (ValueKinds kind, string found, string? text) = node switch
        {
            TomlScalar { Value: string value } => (ValueKinds.Text, "a text", value),
            TomlScalar { Value: bool value } => (ValueKinds.Boolean, value ? "true" : "false", value ? "true" : "false"),
            TomlScalar { Value: long value } => (ValueKinds.Integer, "a whole number", value.ToString(CultureInfo.InvariantCulture)),
            TomlScalar { Value: double value } =>
                (ValueKinds.Number & ~ValueKinds.Integer, "a number with a fraction", value.ToString(CultureInfo.InvariantCulture)),
            TomlTable => (ValueKinds.Table, "a table", null),
            _ => (ValueKinds.Tables, "an array", (string?)null),
        };
        if (text is not null && (kinds & kind) == kind) return text;
        mistake = new Mistake(node.At, $"'{name}' is {found} here: {HowToSay(name, kinds)}");
        return null;
    }

    private static string HowToSay(string name, ValueKinds kinds) => string.Join(", or ", (IEnumerable<string>)
    [
        .. kinds.HasFlag(ValueKinds.Boolean) ? ["give true or false"] : Array.Empty<string>(),
        .. kinds.HasFlag(ValueKinds.Number) ? ["give a number"]
            : kinds.HasFlag(ValueKinds.Integer) ? ["give a whole number without quotes"] : Array.Empty<string>(),
        .. kinds.HasFlag(ValueKinds.Text) ? ["give a text in quotes"] : Array.Empty<string>(),
        .. kinds.HasFlag(ValueKinds.Table) ? [$"write [{name}] and its keys below"] : Array.Empty<string>(),
        .. kinds.HasFlag(ValueKinds.Tables) ? [$"write [[{name}]] and its keys below, once for each device"] : Array.Empty<string>(),
    ]);

    /// <returns>The name that was meant, if one is near.</returns>
    private string? Unknown(TomlName name, string owner, string[] names)
    {
        string nearest = names.MinBy(each => Distance(each, name.Text)) ?? "";
        // A third of the letters may be wrong.
        bool isNear = Distance(nearest, name.Text) <= Math.Max(1, nearest.Length / 3);
        string hint = isNear ? $"did you mean '{nearest}'?" : names.Length > 0 ? $"there are {string.Join(", ", names)}" : "it has no keys";
        _mistakes.Add(new Mistake(name.At, $"unknown name '{name.Text}' for {owner}: {hint}"));
        return isNear ? nearest : null;
    }

    /// <summary>How many letters have to be put in, left out or replaced to make one word of another.</summary>
    private static int Distance(string word, string other)
    {
        if (Math.Abs(word.Length - other.Length) > word.Length) return word.Length + 1;
        int[] row = [.. Enumerable.Range(0, other.Length + 1)];
        for (int i = 1; i <= word.Length; i++)
        {
            int diagonal = row[0];
            row[0] = i;
            for (int j = 1; j <= other.Length; j++)
            {
                int above = row[j];
                row[j] = Math.Min(Math.Min(above, row[j - 1]) + 1, diagonal + (word[i - 1] == other[j - 1] ? 0 : 1));
                diagonal = above;
            }
        }
        return row[^1];
    }
}
