using System.Buffers;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

namespace Vmm.Tool;

/// <summary>Turns <c>capacityBytes=8G</c> into what the API takes. The fields are those of <see cref="DeviceChange"/>.</summary>
internal static class FieldText
{
    private const string Suffixes = "KMGTP";

    /// <summary>
    /// The fields that can be changed. Help names them, and is made at each start: too often to look into how JSON is written for it.
    /// </summary>
    internal const string Names =
        "operationsPerSecond, bytesPerSecond, burstSeconds, capacityBytes, medium, targetBytes, linkUp, columns, rows";

    /// <summary>What is to be changed, as JSON.</summary>
    /// <exception cref="UsageException">A text makes no sense.</exception>
    internal static ReadOnlyMemory<byte> Read(IEnumerable<string> texts)
    {
        ArrayBufferWriter<byte> body = new();
        HashSet<string> given = [];
        using (Utf8JsonWriter json = new(body))
        {
            json.WriteStartObject();
            foreach (string text in texts)
            {
                int equals = text.IndexOf('=', StringComparison.Ordinal);
                string name = equals < 0 ? text : text[..equals];
                JsonPropertyInfo field = ApiJson.Readable.DeviceChange.Properties.FirstOrDefault(field => field.Name == name)
                    ?? throw new UsageException($"'{text}' names no field that can be changed: give one of {Names}");
                if (equals < 0) throw new UsageException($"'{text}' has no value: give {name}=VALUE");
                if (!given.Add(name)) throw new UsageException($"'{name}' is given twice: give it once");
                Write(json, field, text[(equals + 1)..]);
            }
            json.WriteEndObject();
        }
        return body.WrittenMemory;
    }

    private static void Write(Utf8JsonWriter json, JsonPropertyInfo field, string text)
    {
        Type type = Nullable.GetUnderlyingType(field.PropertyType) ?? field.PropertyType;
        if (type == typeof(string)) json.WriteString(field.Name, text);
        else if (type == typeof(bool))
        {
            json.WriteBoolean(field.Name, text switch
            {
                "true" or "up" or "on" => true,
                "false" or "down" or "off" => false,
                _ => throw new UsageException($"'{field.Name}={text}': give true or false"),
            });
        }
        else if (type == typeof(double))
        {
            if (!double.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double number))
                throw new UsageException($"'{field.Name}={text}': give a number, such as 0.5");
            json.WriteNumber(field.Name, number);
        }
        else
        {
            if (!TryParse(text, out long number))
                throw new UsageException($"'{field.Name}={text}': give a whole number, such as 4096 or 8G");
            json.WriteNumber(field.Name, number);
        }
    }

    /// <summary>Reads <c>4096</c>, <c>4K</c>, <c>8G</c>.</summary>
    private static bool TryParse(string text, out long number)
    {
        int suffix = text.Length > 0 ? Suffixes.IndexOf(char.ToUpperInvariant(text[^1]), StringComparison.Ordinal) : -1;
        int shift = 10 * (suffix + 1);
        bool isNumber = long.TryParse(suffix < 0 ? text : text[..^1], NumberStyles.None, CultureInfo.InvariantCulture, out number);
        if (!isNumber || number > long.MaxValue >> shift) return false;
        number <<= shift;
        return true;
    }
}
