using System.Buffers;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Vmm.Tool;

/// <summary>Documents in JSON for readers and for other programs: indented, with a line end.</summary>
internal static class JsonText
{
    // Quotes and apostrophes of sentences stay readable: these are part of no web page.
    private static readonly JsonWriterOptions Readable = new() { Indented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>A document as UTF-8.</summary>
    internal static byte[] Of(JsonObject document)
    {
        ArrayBufferWriter<byte> text = new();
        using (Utf8JsonWriter json = new(text, Readable)) document.WriteTo(json);
        return [.. text.WrittenSpan, (byte)'\n'];
    }

    /// <summary>An object of names and values, in their order.</summary>
    internal static JsonObject ObjectOf(IEnumerable<(string Name, JsonNode Value)> values) =>
        new(values.Select(each => KeyValuePair.Create(each.Name, (JsonNode?)each.Value)));

    internal static JsonArray ArrayOf(IEnumerable<JsonNode> values) => new([.. values]);

    internal static JsonArray ArrayOf(IEnumerable<string> values) => new([.. values.Select(value => (JsonNode)value)]);
}
