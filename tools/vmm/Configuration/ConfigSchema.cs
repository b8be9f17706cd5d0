using System.CommandLine;
using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;

namespace Vmm.Tool;

/// <summary>Writes the JSON Schema (draft 7, which editors know) of configuration files, made of the command tree.</summary>
internal static class ConfigSchema
{
    internal static string Of(RootCommand root) => Encoding.UTF8.GetString(JsonText.Of(new JsonObject
    {
        ["$schema"] = "http://json-schema.org/draft-07/schema#",
        ["title"] = "Configuration of vmm",
        ["oneOf"] = JsonText.ArrayOf(Setting.CommandsOf(root).Select(Of)),
    }));

    private static JsonObject Of(Command command)
    {
        Setting[] settings = [.. Setting.Of(command)];
        JsonObject properties = new()
        {
            [ConfigReader.CommandName] = new JsonObject { ["const"] = command.Name, ["description"] = "What the file is for." },
        };
        foreach (Setting setting in settings) properties[setting.Name] = Of(setting);
        IEnumerable<string> required = settings.Where(setting => setting.Option.Required).Select(setting => setting.Name);
        JsonObject schema = new()
        {
            ["title"] = $"vmm {command.Name}",
            ["description"] = command.Description,
            ["type"] = "object",
            ["additionalProperties"] = false,
            ["properties"] = properties,
            ["required"] = JsonText.ArrayOf(required.Prepend(ConfigReader.CommandName)),
        };
        foreach (Setting setting in settings)
        {
            if (setting.Option is not TextOption { InsteadOf: { } other }) continue;
            schema["anyOf"] = EitherOf([settings.Single(each => each.Option == other).Name, setting.Name]);
        }
        return schema;
    }

    private static JsonObject Of(Setting setting)
    {
        JsonObject schema = new() { ["description"] = (setting.Option as DeviceOption)?.Kind.Description ?? setting.Option.Description };
        switch (setting.Option)
        {
            case DeviceOption { IsRepeatable: true }:
                schema["type"] = "array";
                schema["items"] = AddTable([], setting.Keys);
                break;
            case DeviceOption { IsSwitch: true }:
                schema["anyOf"] = new JsonArray(new JsonObject { ["type"] = "boolean" }, AddTable([], setting.Keys));
                break;
            case DeviceOption:
                AddTable(schema, setting.Keys);
                break;
            default:
                AddScalar(schema, setting);
                break;
        }
        return schema;
    }

    private static void AddScalar(JsonObject schema, Setting setting)
    {
        schema["type"] = TypeOf(setting.Kinds);
        if (setting.Option is NumberOption number)
        {
            schema["minimum"] = number.Min;
            schema["maximum"] = number.Max;
        }
        if (setting.Option is ChoiceOption choice) schema["enum"] = JsonText.ArrayOf(choice.Choices);
        if (setting.Standard is not { } standard) return;
        schema["default"] = setting.Kinds switch
        {
            ValueKinds.Integer => long.Parse(standard, CultureInfo.InvariantCulture),
            ValueKinds.Boolean => bool.Parse(standard),
            _ => (JsonNode)standard,
        };
    }

    private static JsonObject AddTable(JsonObject schema, IReadOnlyList<SpecKey> keys)
    {
        schema["type"] = "object";
        schema["additionalProperties"] = false;
        schema["properties"] = JsonText.ObjectOf(keys.Select(key => (key.Name, (JsonNode)Of(key))));
        SpecKey[] needed = [.. keys.Where(key => !key.IsOptional)];
        // Of the keys of one part one is given: the 'tap' or the 'uds' of a network card.
        SpecKey[] either = [.. needed.Where(key => needed.Any(other => key.Part == other.Part && key.Name != other.Name))];
        schema["required"] = JsonText.ArrayOf(needed.Except(either).Select(key => key.Name));
        if (either.Length > 0) schema["anyOf"] = EitherOf(either.Select(key => key.Name));
        return schema;
    }

    private static JsonObject Of(SpecKey key)
    {
        ValueKinds kinds = key.Kinds;
        if (key.Choices.Length == 0) return new JsonObject { ["type"] = TypeOf(kinds) };
        JsonObject words = new() { ["enum"] = JsonText.ArrayOf(key.Choices) };
        ValueKinds others = kinds & ~ValueKinds.Text;
        return others == ValueKinds.None ? words
            : new JsonObject { ["anyOf"] = new JsonArray(words, new JsonObject { ["type"] = TypeOf(others) }) };
    }

    private static JsonArray EitherOf(IEnumerable<string> names) =>
        JsonText.ArrayOf(names.Select(name => new JsonObject { ["required"] = new JsonArray((JsonNode)name) }));

    private static JsonNode TypeOf(ValueKinds kinds)
    {
        string[] types =
        [
            .. kinds.HasFlag(ValueKinds.Boolean) ? ["boolean"] : Array.Empty<string>(),
            .. kinds.HasFlag(ValueKinds.Number) ? ["number"] : kinds.HasFlag(ValueKinds.Integer) ? ["integer"] : Array.Empty<string>(),
            .. kinds.HasFlag(ValueKinds.Text) ? ["string"] : Array.Empty<string>(),
        ];
        return types.Length == 1 ? types[0] : JsonText.ArrayOf(types);
    }
}
