using System.Text.Json;

namespace Vmm.Tool;

/// <summary>Saved state for readers: a line for each value, indented by the records that it is in.</summary>
internal static class StateTree
{
    /// <summary>Most bytes of a file that are read: consoles may keep a lot of output.</summary>
    internal const long BytesMax = 1L << 30;

    private const string Indent = "  ";
    private const string Version = "version";

    /// <summary>Longest text that is shown whole.</summary>
    private const int TextMax = 72;

    private const int ParserMessageMax = 160;

    private static readonly JsonDocumentOptions Options = new() { MaxDepth = 64, AllowDuplicateProperties = false };

    /// <summary>Writes the tree.</summary>
    /// <param name="path">Where the state is, for messages.</param>
    /// <param name="state">UTF-8 JSON.</param>
    /// <param name="output">Where the lines go.</param>
    /// <exception cref="IOException">It is no JSON.</exception>
    internal static void Write(string path, ReadOnlyMemory<byte> state, TextWriter output)
    {
        Read(path, state, root => Write(root, "", output));
    }

    /// <summary>Writes the JSON again.</summary>
    /// <exception cref="IOException">It is no JSON.</exception>
    internal static void WriteJson(string path, ReadOnlyMemory<byte> state, Stream output)
    {
        Read(path, state, root =>
        {
            using Utf8JsonWriter json = new(output, new JsonWriterOptions { Indented = true });
            root.WriteTo(json);
        });
        output.WriteByte((byte)'\n');
    }

    private static void Read(string path, ReadOnlyMemory<byte> state, Action<JsonElement> write)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(state, Options);
            write(document.RootElement);
        }
        catch (Exception wrong) when (wrong is JsonException or InvalidOperationException or ArgumentException)
        {
            // The parser does not look whether names and texts are UTF-8, and throws when they are asked for.
            throw new IOException($"'{path}' is no saved state: {Abridged(wrong.Message, ParserMessageMax)}", wrong);
        }
    }

    private static void Write(JsonElement node, string indent, TextWriter output)
    {
        if (node.ValueKind != JsonValueKind.Object)
        {
            output.WriteLine($"{indent}{Text(node)}");
            return;
        }
        JsonProperty[] values = [.. node.EnumerateObject().Where(each => IsValue(each.Value) && each.Name != Version)];
        int width = values.Select(each => Math.Min(each.Name.Length, TextMax)).DefaultIfEmpty().Max();
        foreach (JsonProperty each in values)
            output.WriteLine($"{indent}{Printable.Of(Abridged(each.Name, TextMax)).PadRight(width)}  {Text(each.Value)}");
        foreach (JsonProperty each in node.EnumerateObject())
        {
            if (each.Value.ValueKind == JsonValueKind.Object) Record(each.Name, each.Value);
            if (each.Value.ValueKind != JsonValueKind.Array) continue;
            int index = 0;
            foreach (JsonElement item in each.Value.EnumerateArray()) Record($"{each.Name}[{index++}]", item);
        }

        void Record(string name, JsonElement record)
        {
            string title = "";
            if (TextOf(record, "name") is { } called) title += $" '{called}'";
            if (VersionOf(record) is { } version) title += $" (version {version})";
            output.WriteLine($"{indent}{Printable.Of(Abridged(name, TextMax))}{title}");
            Write(record, indent + Indent, output);
        }
    }

    private static bool IsValue(JsonElement value) => value.ValueKind is not (JsonValueKind.Object or JsonValueKind.Array);

    private static string? TextOf(JsonElement record, string name) =>
        record.ValueKind == JsonValueKind.Object && record.TryGetProperty(name, out JsonElement value)
            && value.ValueKind == JsonValueKind.String ? Text(value) : null;

    /// <summary>A version that is not the first one.</summary>
    private static string? VersionOf(JsonElement record) =>
        record.ValueKind == JsonValueKind.Object && record.TryGetProperty(Version, out JsonElement value)
            && IsValue(value) && value.GetRawText() != "1" ? Text(value) : null;

    private static string Text(JsonElement value)
    {
        string text = value.GetRawText();
        if (value.ValueKind == JsonValueKind.String) text = text[1..^1];
        text = Printable.Of(text);
        return text.Length <= TextMax ? text : $"{Abridged(text, TextMax)} ({text.Length} characters)";
    }

    private static string Abridged(string text, int lengthMax) => text.Length <= lengthMax ? text : text[..lengthMax] + "…";
}
