using System.Buffers;
using System.CommandLine;
using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace Vmm.Tool;

/// <summary>Writes the JSON Schema (draft 7, which editors know) of configuration files, made of the command tree.</summary>
internal static class ConfigSchema
{
    internal static string Of(RootCommand root)
    {
        ArrayBufferWriter<byte> text = new();
        // Quotes and apostrophes of descriptions stay readable; the schema is part of no web page.
        JsonWriterOptions options = new() { Indented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };
        using (Utf8JsonWriter json = new(text, options))
        {
            json.WriteStartObject();
            json.WriteString("$schema", "http://json-schema.org/draft-07/schema#");
            json.WriteString("title", "Configuration of vmm");
            json.WriteStartArray("oneOf");
            foreach (Command command in Setting.CommandsOf(root)) Write(json, command);
            json.WriteEndArray();
            json.WriteEndObject();
        }
        return Encoding.UTF8.GetString(text.WrittenSpan) + "\n";
    }

    private static void Write(Utf8JsonWriter json, Command command)
    {
        Setting[] settings = [.. Setting.Of(command)];
        json.WriteStartObject();
        json.WriteString("title", $"vmm {command.Name}");
        json.WriteString("description", command.Description);
        json.WriteString("type", "object");
        json.WriteBoolean("additionalProperties", false);
        json.WriteStartObject("properties");
        json.WriteStartObject(ConfigReader.CommandName);
        json.WriteString("const", command.Name);
        json.WriteString("description", "What the file is for.");
        json.WriteEndObject();
        foreach (Setting setting in settings) Write(json, setting);
        json.WriteEndObject();
        IEnumerable<string> required = settings.Where(setting => setting.Option.Required).Select(setting => setting.Name);
        Strings(json, "required", required.Prepend(ConfigReader.CommandName));
        foreach (Setting setting in settings)
        {
            if (setting.Option is not TextOption { InsteadOf: { } other }) continue;
            json.WriteStartArray("anyOf");
            foreach (string either in (string[])[settings.Single(each => each.Option == other).Name, setting.Name])
            {
                json.WriteStartObject();
                Strings(json, "required", [either]);
                json.WriteEndObject();
            }
            json.WriteEndArray();
        }
        json.WriteEndObject();
    }

    private static void Write(Utf8JsonWriter json, Setting setting)
    {
        json.WriteStartObject(setting.Name);
        json.WriteString("description", (setting.Option as DeviceOption)?.Kind.Description ?? setting.Option.Description);
        switch (setting.Option)
        {
            case DeviceOption { IsRepeatable: true }:
                json.WriteString("type", "array");
                json.WriteStartObject("items");
                WriteTable(json, setting.Keys);
                json.WriteEndObject();
                break;
            case DeviceOption { IsSwitch: true }:
                json.WriteStartArray("anyOf");
                json.WriteStartObject();
                json.WriteString("type", "boolean");
                json.WriteEndObject();
                json.WriteStartObject();
                WriteTable(json, setting.Keys);
                json.WriteEndObject();
                json.WriteEndArray();
                break;
            case DeviceOption:
                WriteTable(json, setting.Keys);
                break;
            default:
                WriteScalar(json, setting);
                break;
        }
        json.WriteEndObject();
    }

    private static void WriteScalar(Utf8JsonWriter json, Setting setting)
    {
        WriteType(json, setting.Kinds);
        if (setting.Option is NumberOption number)
        {
            json.WriteNumber("minimum", number.Min);
            json.WriteNumber("maximum", number.Max);
        }
        if (setting.Option is ChoiceOption choice) Strings(json, "enum", choice.Choices);
        if (setting.Standard is not { } standard) return;
        switch (setting.Kinds)
        {
            case ValueKinds.Integer:
                json.WriteNumber("default", long.Parse(standard, CultureInfo.InvariantCulture));
                break;
            case ValueKinds.Boolean:
                json.WriteBoolean("default", bool.Parse(standard));
                break;
            default:
                json.WriteString("default", standard);
                break;
        }
    }

    private static void WriteTable(Utf8JsonWriter json, IReadOnlyList<SpecKey> keys)
    {
        json.WriteString("type", "object");
        json.WriteBoolean("additionalProperties", false);
        json.WriteStartObject("properties");
        foreach (SpecKey key in keys)
        {
            json.WriteStartObject(key.Name);
            WriteKey(json, key);
            json.WriteEndObject();
        }
        json.WriteEndObject();
        SpecKey[] needed = [.. keys.Where(key => !key.IsOptional)];
        Strings(json, "required", needed.Where(key => !needed.Any(other => IsInsteadOf(key, other))).Select(key => key.Name));
        // Of the keys of one part one is given: the 'tap' or the 'uds' of a network card.
        SpecKey[] either = [.. needed.Where(key => needed.Any(other => IsInsteadOf(key, other)))];
        if (either.Length == 0) return;
        json.WriteStartArray("anyOf");
        foreach (SpecKey key in either)
        {
            json.WriteStartObject();
            Strings(json, "required", [key.Name]);
            json.WriteEndObject();
        }
        json.WriteEndArray();
    }

    private static bool IsInsteadOf(SpecKey key, SpecKey other) => key.Part == other.Part && key.Name != other.Name;

    private static void WriteKey(Utf8JsonWriter json, SpecKey key)
    {
        ValueKinds kinds = key.Kinds;
        if (key.Choices.Length == 0)
        {
            WriteType(json, kinds);
            return;
        }
        ValueKinds others = kinds & ~ValueKinds.Text;
        if (others == ValueKinds.None)
        {
            Strings(json, "enum", key.Choices);
            return;
        }
        json.WriteStartArray("anyOf");
        json.WriteStartObject();
        Strings(json, "enum", key.Choices);
        json.WriteEndObject();
        json.WriteStartObject();
        WriteType(json, others);
        json.WriteEndObject();
        json.WriteEndArray();
    }

    private static void WriteType(Utf8JsonWriter json, ValueKinds kinds)
    {
        string[] types =
        [
            .. kinds.HasFlag(ValueKinds.Boolean) ? ["boolean"] : Array.Empty<string>(),
            .. kinds.HasFlag(ValueKinds.Number) ? ["number"] : kinds.HasFlag(ValueKinds.Integer) ? ["integer"] : Array.Empty<string>(),
            .. kinds.HasFlag(ValueKinds.Text) ? ["string"] : Array.Empty<string>(),
        ];
        if (types.Length == 1) json.WriteString("type", types[0]);
        else Strings(json, "type", types);
    }

    private static void Strings(Utf8JsonWriter json, string name, IEnumerable<string> values)
    {
        json.WriteStartArray(name);
        foreach (string value in values) json.WriteStringValue(value);
        json.WriteEndArray();
    }
}
