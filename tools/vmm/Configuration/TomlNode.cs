namespace Vmm.Tool;

/// <summary>Something that is wrong with a configuration file.</summary>
/// <param name="at">Where, as an index into its text.</param>
/// <param name="sentence">What was found, and what to do.</param>
internal sealed class Mistake(int at, string sentence)
{
    internal int At => at;

    internal string Sentence => sentence;
}

/// <summary>A value of a TOML document.</summary>
/// <param name="at">Where it begins, as an index into the text.</param>
internal abstract class TomlNode(int at)
{
    internal int At => at;
}

/// <summary>A text, a number or a boolean.</summary>
/// <param name="at">Where it begins.</param>
/// <param name="value">A <see cref="string"/>, <see cref="long"/>, <see cref="double"/> or <see cref="bool"/>.</param>
internal sealed class TomlScalar(int at, object value) : TomlNode(at)
{
    internal object Value => value;
}

/// <summary>A value that could not be read, which is a mistake already.</summary>
/// <param name="at">Where it begins.</param>
internal sealed class TomlBroken(int at) : TomlNode(at);

/// <summary>An array of values, or what tables with the same <c>[[name]]</c> make.</summary>
/// <param name="at">Where it begins.</param>
/// <param name="isOfTables">Whether <c>[[name]]</c> adds to it.</param>
internal sealed class TomlArray(int at, bool isOfTables) : TomlNode(at)
{
    internal bool IsOfTables => isOfTables;

    internal List<TomlNode> Items { get; } = [];
}

/// <summary>A table: names with values.</summary>
/// <param name="at">Where it begins.</param>
/// <param name="origin">What made it, which decides what may add to it.</param>
internal sealed class TomlTable(int at, TomlTableOrigin origin) : TomlNode(at)
{
    private readonly Dictionary<string, TomlItem> _byName = [];

    internal TomlTableOrigin Origin { get; set; } = origin;

    /// <summary>What is in it, in the order of the document.</summary>
    internal List<TomlItem> Items { get; } = [];

    internal TomlNode? Find(string name) => _byName.GetValueOrDefault(name)?.Value;

    internal TomlItem Add(TomlName name, TomlNode value)
    {
        TomlItem item = new(name, value);
        _byName.Add(name.Text, item);
        Items.Add(item);
        return item;
    }
}

/// <summary>A name with its value in a table.</summary>
internal sealed class TomlItem(TomlName name, TomlNode value)
{
    internal TomlName Name => name;

    internal TomlNode Value { get; private set; } = value;

    /// <summary>The line it stands on makes no sense as a whole.</summary>
    internal void Break() => Value = new TomlBroken(Value.At);
}

/// <summary>A name in a table.</summary>
/// <param name="text">The name.</param>
/// <param name="at">Where it stands.</param>
internal sealed class TomlName(string text, int at)
{
    internal string Text => text;

    internal int At => at;
}

/// <summary>What made a table.</summary>
internal enum TomlTableOrigin
{
    /// <summary>A header for a table below it; a header of its own may still come.</summary>
    Implied,

    /// <summary>A header of its own.</summary>
    Header,

    /// <summary>A dotted name, which other dotted names may follow.</summary>
    Dotted,

    /// <summary>Braces, which are all there is of it.</summary>
    Inline,
}
