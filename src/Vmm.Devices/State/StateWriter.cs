using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Vmm.Devices;

/// <summary>
/// Takes the state of one thing when its machine is saved: a record with a version, named values, and records below. It becomes an object
/// of JSON. One thread at a time.
/// </summary>
/// <remarks>
/// A reader refuses a value that it does not know, by its name. One whose name ends with <c>?</c> may be skipped: it is for hints, without
/// which the machine goes on as well.
/// </remarks>
public sealed class StateWriter
{
    internal const string VersionName = "version";

    private readonly JsonObject _record = [];

    /// <summary>Begins a record.</summary>
    /// <param name="version">Of its layout, from 1. It rises when a value gets another meaning or disappears.</param>
    public StateWriter(int version = 1)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(version, 1);
        _record.Add(VersionName, version);
    }

    /// <summary>Adds a truth.</summary>
    public void Add(string name, bool value) => _record.Add(name, value);

    /// <summary>Adds a number: a count, a size, a position.</summary>
    public void Add(string name, long value) => _record.Add(name, value);

    /// <summary>Adds 64 bits: an address, a register, a set of features. They are written in hexadecimal.</summary>
    public void Add(string name, ulong value) => _record.Add(name, string.Create(CultureInfo.InvariantCulture, $"0x{value:x}"));

    /// <summary>Adds a text.</summary>
    public void Add(string name, string value)
    {
        ArgumentNullException.ThrowIfNull(value);
        _record.Add(name, value);
    }

    /// <summary>Adds bytes. They are written in base64.</summary>
    public void Add(string name, ReadOnlySpan<byte> value) => _record.Add(name, Convert.ToBase64String(value));

    /// <summary>Adds a record.</summary>
    /// <param name="name">Its name in this one.</param>
    /// <param name="version">Of its layout, from 1.</param>
    public StateWriter AddRecord(string name, int version = 1)
    {
        StateWriter below = new(version);
        _record.Add(name, below._record);
        return below;
    }

    /// <summary>Adds a record to the end of a list, which begins with the first.</summary>
    /// <param name="list">The list's name in this record.</param>
    /// <param name="version">Of the new record's layout, from 1.</param>
    public StateWriter AddItem(string list, int version = 1)
    {
        StateWriter below = new(version);
        if (_record[list] is JsonArray items) items.Add((JsonNode)below._record);
        else _record.Add(list, new JsonArray(below._record));
        return below;
    }

    /// <summary>Writes everything as UTF-8 JSON, indented for readers.</summary>
    public void WriteTo(Stream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        using Utf8JsonWriter json = new(stream, new JsonWriterOptions { Indented = true });
        _record.WriteTo(json);
    }
}
