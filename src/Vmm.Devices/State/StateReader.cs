using System.Globalization;
using System.Text.Json;

namespace Vmm.Devices;

/// <summary>
/// Gives back what a <see cref="StateWriter"/> took. The file may come from an enemy: each value is asked for with its bounds, and what is
/// missing, out of bounds or of another kind is a <see cref="StateException"/> that names its place. One thread at a time.
/// </summary>
public sealed class StateReader
{
    private const int DepthMax = 16;

    /// <summary>Most characters that a message repeats of a name or number of the file.</summary>
    private const int AbridgedMax = 40;

    private const int ParserMessageMax = 160;

    private readonly JsonElement _record;
    private readonly HashSet<string> _read = [StateWriter.VersionName];
    private readonly List<StateReader> _below = [];

    private StateReader(JsonElement record, string place, int newestVersion)
    {
        Place = place;
        if (record.ValueKind != JsonValueKind.Object) throw Wrong($"is {KindOf(record)}, not a record");
        _record = record;
        Version = (int)Int64(StateWriter.VersionName, 1, int.MaxValue);
        if (Version > newestVersion)
            throw Wrong($"has version {Version}, and this program knows up to {newestVersion}: restore it with a newer one");
    }

    /// <summary>Where the record is, for messages: <c>devices[2].queues[0]</c>.</summary>
    public string Place { get; }

    /// <summary>Of the record's layout: from 1 to the newest that the reader said it knows.</summary>
    public int Version { get; }

    /// <summary>Reads the outermost record.</summary>
    /// <param name="json">UTF-8 JSON. Names that appear twice are refused.</param>
    /// <param name="place">What it is, for messages.</param>
    /// <param name="newestVersion">The newest layout that the caller knows.</param>
    /// <exception cref="StateException">It is not JSON, not a record, or newer.</exception>
    public static StateReader Parse(ReadOnlyMemory<byte> json, string place, int newestVersion = 1)
    {
        ArgumentException.ThrowIfNullOrEmpty(place);
        try
        {
            using JsonDocument document = JsonDocument.Parse(json, new JsonDocumentOptions { MaxDepth = DepthMax });
            ReadNames(document.RootElement);
            return new StateReader(document.RootElement.Clone(), place, newestVersion);
        }
        catch (Exception refused) when (refused is JsonException or InvalidOperationException)
        {
            // The parser quotes the file, as much of it as it likes.
            string why = Abridged(refused.Message, ParserMessageMax);
            throw new StateException(Printable($"{place} is not JSON as it was written: {why}"), refused);
        }
    }

    /// <summary>Whether a value or record is there: for what older writers did not have.</summary>
    public bool Has(string name) => _record.TryGetProperty(name, out _);

    /// <summary>Reads a truth.</summary>
    public bool Boolean(string name)
    {
        JsonElement value = Find(name);
        return value.ValueKind is JsonValueKind.True or JsonValueKind.False ? value.GetBoolean()
            : throw Wrong(name, $"is {KindOf(value)}, not true or false");
    }

    /// <summary>Reads a number.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="min">The least it may be.</param>
    /// <param name="max">The most it may be.</param>
    public long Int64(string name, long min, long max)
    {
        JsonElement value = Find(name);
        if (value.ValueKind != JsonValueKind.Number || !value.TryGetInt64(out long number))
            throw Wrong(name, $"is {KindOf(value)}, not a whole number");
        return number >= min && number <= max ? number : throw Wrong(name, $"is {number}, which is not from {min} to {max}");
    }

    /// <summary>As <see cref="Int64"/>, for what fits an <see cref="int"/>.</summary>
    public int Int32(string name, int min, int max) => (int)Int64(name, min, max);

    /// <summary>Reads 64 bits.</summary>
    /// <param name="name">Their name.</param>
    /// <param name="max">The most they may be.</param>
    public ulong UInt64(string name, ulong max = ulong.MaxValue)
    {
        string text = Text(name, "0x".Length + 16);
        if (!text.StartsWith("0x", StringComparison.Ordinal)
            || !ulong.TryParse(text.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ulong bits))
            throw Wrong(name, "is not a hexadecimal number such as 0x1f");
        return bits <= max ? bits : throw Wrong(name, $"is 0x{bits:x}, which is more than 0x{max:x}");
    }

    /// <summary>Reads a text.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="lengthMax">Most UTF-16 characters it may have.</param>
    public string Text(string name, int lengthMax)
    {
        JsonElement value = Find(name);
        string? text = null;
        try
        {
            if (value.ValueKind == JsonValueKind.String) text = value.GetString();
        }
        catch (InvalidOperationException)
        {
            // Half a surrogate pair: no text.
        }
        if (text is null) throw Wrong(name, $"is {KindOf(value)}, not a text");
        return text.Length <= lengthMax ? text : throw Wrong(name, $"has {text.Length} characters, more than {lengthMax}");
    }

    /// <summary>Reads bytes.</summary>
    /// <param name="name">Their name.</param>
    /// <param name="lengthMax">Most bytes there may be.</param>
    public byte[] Bytes(string name, int lengthMax)
    {
        string text = Text(name, (int)Math.Min(int.MaxValue, (lengthMax + 2L) / 3 * 4));
        byte[] bytes = new byte[text.Length / 4 * 3];
        if (!Convert.TryFromBase64String(text, bytes, out int length)) throw Wrong(name, "is not base64");
        return length <= lengthMax ? bytes[..length] : throw Wrong(name, $"has {length} bytes, more than {lengthMax}");
    }

    /// <summary>Reads a record.</summary>
    /// <param name="name">Its name in this one.</param>
    /// <param name="newestVersion">The newest layout that the caller knows.</param>
    public StateReader Record(string name, int newestVersion = 1) => Below(Find(name), $"{Place}.{name}", newestVersion);

    /// <summary>Reads the records of a list; none if the list was never begun.</summary>
    /// <param name="list">Its name in this record.</param>
    /// <param name="countMax">Most records there may be.</param>
    /// <param name="newestVersion">The newest layout of theirs that the caller knows.</param>
    public IReadOnlyList<StateReader> Items(string list, int countMax, int newestVersion = 1)
    {
        if (!Has(list)) return [];
        JsonElement items = Find(list);
        if (items.ValueKind != JsonValueKind.Array) throw Wrong(list, $"is {KindOf(items)}, not a list");
        int count = items.GetArrayLength();
        if (count > countMax) throw Wrong(list, $"has {count} records, more than {countMax}");
        return [.. items.EnumerateArray().Select((item, i) => Below(item, $"{Place}.{list}[{i}]", newestVersion))];
    }

    /// <summary>Refuses what was not read, here and in every record below: a newer program wrote it, and its meaning is unknown.</summary>
    /// <exception cref="StateException">There is such a value.</exception>
    public void Complete()
    {
        foreach (JsonProperty value in _record.EnumerateObject())
        {
            if (!_read.Contains(value.Name) && !value.Name.EndsWith('?'))
                throw Wrong(Abridged(value.Name), "is not known to this program: restore it with the one that saved it, or a newer one");
        }
        foreach (StateReader below in _below) below.Complete();
    }

    /// <summary>What a reader finds wrong beyond the bounds of a value.</summary>
    /// <param name="name">The value.</param>
    /// <param name="what">The rest of the sentence: <c>is a ring of 3 entries, which is not a power of two</c>.</param>
    public StateException Wrong(string name, string what) => new(Printable($"{Place}.{name} {what}"));

    private StateException Wrong(string what) => new(Printable($"{Place} {what}"));

    private StateReader Below(JsonElement record, string place, int newestVersion)
    {
        StateReader below = new(record, place, newestVersion);
        _below.Add(below);
        return below;
    }

    private JsonElement Find(string name)
    {
        if (!_record.TryGetProperty(name, out JsonElement value)) throw Wrong(name, "is missing");
        _read.Add(name);
        return value;
    }

    /// <summary>
    /// The parser does not look whether names are UTF-8, and throws when they are asked for. It would look whether one appears twice, by a
    /// hash whose seed it has of OpenSSL: a library that a process in its sandbox cannot load.
    /// </summary>
    private static void ReadNames(JsonElement node)
    {
        if (node.ValueKind == JsonValueKind.Object)
        {
            HashSet<string> names = [];
            foreach (JsonProperty each in node.EnumerateObject())
            {
                if (!names.Add(each.Name)) throw new JsonException($"the name '{Abridged(each.Name)}' appears twice in a record");
                ReadNames(each.Value);
            }
        }
        else if (node.ValueKind == JsonValueKind.Array)
        {
            foreach (JsonElement each in node.EnumerateArray()) ReadNames(each);
        }
    }

    private static string KindOf(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Object => "a record",
        JsonValueKind.Array => "a list",
        JsonValueKind.String => "a text",
        JsonValueKind.Number => $"the number {Abridged(value.GetRawText())}",
        JsonValueKind.True or JsonValueKind.False => "true or false",
        _ => "empty",
    };

    private static string Abridged(string text, int lengthMax = AbridgedMax) => text.Length <= lengthMax ? text : text[..lengthMax] + "…";

    /// <summary>A message repeats parts of the file. It ends on a terminal: nothing in it may move the cursor or begin a line.</summary>
    private static string Printable(string message) => string.Concat(message.Select(letter => char.GetUnicodeCategory(letter)
        is UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator
        or UnicodeCategory.Surrogate ? '?' : letter));
}
