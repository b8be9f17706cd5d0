namespace Vmm.Tool;

/// <summary>
/// Reads a TOML 1.1 document and goes on after a mistake, so that all of them are found. It gives dates no value: no setting takes one.
/// </summary>
internal sealed partial class TomlReader
{
    /// <summary>A document with more mistakes is no configuration: the rest is not read.</summary>
    internal const int MistakesMax = 1000;

    /// <summary>Deepest nesting of arrays and inline tables, which bounds the stack. Settings need two.</summary>
    private const int DepthMax = 16;

    private readonly string _text;
    private readonly List<Mistake> _mistakes;
    private readonly TomlTable _root = new(0, TomlTableOrigin.Header);
    private TomlTable _current;
    private int _at;
    private int _depth;

    private TomlReader(string text, List<Mistake> mistakes)
    {
        _text = text;
        _mistakes = mistakes;
        _current = _root;
    }

    /// <summary>Reads a document.</summary>
    /// <param name="text">Its text, without a byte order mark.</param>
    /// <param name="mistakes">Gets what is wrong with it.</param>
    /// <returns>What could be read.</returns>
    internal static TomlTable Read(string text, List<Mistake> mistakes)
    {
        TomlReader reader = new(text, mistakes);
        while (mistakes.Count < MistakesMax && reader.ReadStatement())
        {
        }
        return reader._root;
    }

    private char Next => _at < _text.Length ? _text[_at] : '\0';

    private bool IsAtEnd => _at >= _text.Length;

    /// <summary>Reads a header, a setting or a line without either.</summary>
    /// <returns>False at the end of the document.</returns>
    private bool ReadStatement()
    {
        int start = _at;
        _depth = 0;
        TomlItem? setting = null;
        try
        {
            SkipSpaces();
            if (Next == '[') ReadHeader();
            else if (!IsAtEnd && Next is not ('#' or '\r' or '\n')) setting = ReadSetting(_current);
            ReadEndOfLine();
        }
        catch (TomlMistakeException mistake)
        {
            _mistakes.Add(mistake.Mistake);
            setting?.Break();
            Resume(start);
        }
        return !IsAtEnd;
    }

    /// <summary>
    /// Goes to the next line. From inside of an array, which has lines of its own, it goes to the next line that looks like a statement.
    /// </summary>
    private void Resume(int start)
    {
        bool isInside = _depth > 0 || _text.AsSpan(start, _at - start).Contains('\n');
        // The line of the mistake may itself be the next statement, if the one before was not closed.
        int line = _text.LastIndexOf('\n', Math.Max(_at - 1, 0)) + 1;
        _at = isInside && line > start && IsStatement(line) ? line : AfterLine(_at);
        while (isInside && !IsAtEnd && !IsStatement(_at)) _at = AfterLine(_at);
    }

    private int AfterLine(int at)
    {
        int end = _text.IndexOf('\n', Math.Min(at, _text.Length));
        return end < 0 ? _text.Length : end + 1;
    }

    /// <summary>Whether a line begins as a header or a setting does.</summary>
    private bool IsStatement(int line)
    {
        ReadOnlySpan<char> text = _text.AsSpan(line, AfterLine(line) - line).Trim();
        if (text.StartsWith('[')) return text.Length > 2 && (text[1] == '[' || char.IsAsciiLetter(text[1])) && !text.Contains(',');
        int end = text.IndexOfAnyExcept(BareKeyLetters);
        return end > 0 && text[end..].TrimStart().StartsWith('=');
    }

    private void ReadHeader()
    {
        int start = _at++;
        // What follows a header that makes no sense belongs to no table.
        _current = new TomlTable(start, TomlTableOrigin.Header);
        bool isArray = Next == '[';
        if (isArray) _at++;
        string close = isArray ? "]]" : "]";
        List<TomlName> path = ReadPath();
        if (_text.AsSpan(_at).StartsWith(close)) _at += close.Length;
        else
        {
            // What follows is read all the same: it is clear where it belongs.
            string header = $"{(isArray ? "[[" : "[")}{NameOf(path)}{close}";
            _mistakes.Add(new Mistake(_at, $"the header of table '{NameOf(path)}' is not closed: write {header}"));
            while (!IsAtEnd && Next is not ('\r' or '\n')) _at++;
        }
        TomlTable parent = _root;
        for (int i = 0; i < path.Count - 1; i++) parent = Descend(parent, path[i], path, TomlTableOrigin.Implied);
        _current = isArray ? AddToArray(parent, path, start) : Define(parent, path, start);
    }

    private TomlTable AddToArray(TomlTable parent, List<TomlName> path, int start)
    {
        TomlName last = path[^1];
        TomlNode? found = parent.Find(last.Text);
        if (found is null) parent.Add(last, found = new TomlArray(start, isOfTables: true));
        if (found is not TomlArray { IsOfTables: true } array)
            throw Fail(last.At,
                $"'{NameOf(path)}' is there already (line {LineOf(found.At)}), and is no list of tables: rename one of them");
        TomlTable table = new(start, TomlTableOrigin.Header);
        array.Items.Add(table);
        return table;
    }

    private TomlTable Define(TomlTable parent, List<TomlName> path, int start)
    {
        TomlName last = path[^1];
        TomlNode? found = parent.Find(last.Text);
        if (found is null) parent.Add(last, found = new TomlTable(start, TomlTableOrigin.Implied));
        if (found is TomlArray { IsOfTables: true })
            throw Fail(last.At,
                $"'{NameOf(path)}' is a list of tables since line {LineOf(found.At)}: write [[{NameOf(path)}]] for another one");
        if (found is not TomlTable { Origin: TomlTableOrigin.Implied } table) throw Twice(last, path, found);
        table.Origin = TomlTableOrigin.Header;
        return table;
    }

    private TomlItem ReadSetting(TomlTable table)
    {
        List<TomlName> path = ReadPath();
        TomlNode value;
        try
        {
            if (Next != '=') throw Fail(_at, $"'{NameOf(path)}' has no value: write {NameOf(path)} = …");
            _at++;
            SkipSpaces();
            if (IsAtEnd || Next is '\r' or '\n' or '#') throw Fail(_at, $"the value of '{NameOf(path)}' is missing after '='");
            value = ReadValue();
        }
        catch (TomlMistakeException)
        {
            // A value that could not be read is no value that is missing.
            if (path.Count == 1 && table.Find(path[0].Text) is null) table.Add(path[0], new TomlBroken(path[0].At));
            throw;
        }
        for (int i = 0; i < path.Count - 1; i++) table = Descend(table, path[i], path, TomlTableOrigin.Dotted);
        TomlName last = path[^1];
        if (table.Find(last.Text) is { } before) throw Twice(last, path, before);
        return table.Add(last, value);
    }

    /// <summary>The table below a name, made if it is not there.</summary>
    /// <param name="origin">
    /// How: a header may go through any table but an inline one, a dotted name only through tables of its like.
    /// </param>
    private TomlTable Descend(TomlTable table, TomlName step, List<TomlName> path, TomlTableOrigin origin)
    {
        TomlNode? found = table.Find(step.Text);
        if (found is null) table.Add(step, found = new TomlTable(step.At, origin));
        if (origin == TomlTableOrigin.Implied && found is TomlArray { IsOfTables: true } array) found = array.Items[^1];
        return found is TomlTable next
            && (origin == TomlTableOrigin.Implied ? next.Origin != TomlTableOrigin.Inline : next.Origin == origin)
            ? next : throw Twice(step, path, found);
    }

    private TomlMistakeException Twice(TomlName name, List<TomlName> path, TomlNode before) =>
        Fail(name.At, $"'{NameOf(path)}' is given twice: it is there already (line {LineOf(before.At)}), so leave one of them out");

    /// <summary>Reads a name, which may have dots, and the spaces behind it.</summary>
    private List<TomlName> ReadPath()
    {
        List<TomlName> path = [];
        do
        {
            if (path.Count > 0) _at++;
            if (path.Count == DepthMax) throw Fail(_at, $"a name of more than {DepthMax} parts: no setting has one");
            SkipSpaces();
            int start = _at;
            path.Add(new TomlName(ReadKey(), start));
            SkipSpaces();
        }
        while (Next == '.');
        return path;
    }

    private string ReadKey()
    {
        if (Next is '"' or '\'') return ReadString(allowsLines: false);
        int start = _at;
        while (BareKeyLetters.Contains(Next)) _at++;
        return _at > start ? _text[start.._at]
            : throw Fail(_at,
                $"{Found} where a name belongs: each line is 'name = value', a header such as '[name]', or a comment after '#'");
    }

    private void ReadEndOfLine()
    {
        SkipSpaces();
        SkipComment();
        if (IsAtEnd) return;
        if (!SkipLineEnd()) throw Fail(_at, $"{Found} where the line should end: begin a new one, or a comment with '#'");
    }

    private void SkipSpaces()
    {
        while (Next is ' ' or '\t') _at++;
    }

    private void SkipComment()
    {
        if (Next != '#') return;
        while (!IsAtEnd && Next != '\n' && !_text.AsSpan(_at).StartsWith("\r\n")) CheckLetter();
    }

    private bool SkipLineEnd()
    {
        if (Next == '\r' && _text.AsSpan(_at).StartsWith("\r\n")) _at++;
        if (IsAtEnd || Next != '\n') return false;
        _at++;
        return true;
    }

    /// <summary>Goes over spaces, comments and lines, as there may be between the parts of an array.</summary>
    private void SkipLines()
    {
        do
        {
            SkipSpaces();
            SkipComment();
        }
        while (SkipLineEnd());
    }

    /// <summary>Goes over one letter that may stand in a text or a comment.</summary>
    private void CheckLetter()
    {
        if (Next is < ' ' and not '\t' or '\u007f')
            throw Fail(_at, $"{Found}, a control character: leave it out, or write \\u{(int)Next:X4} in a text");
        _at++;
    }

    /// <summary>What stands here, for a message.</summary>
    private string Found => IsAtEnd ? "the file ends" : Next is '\r' or '\n' ? "the line ends"
        : char.IsControl(Next) ? $"there is U+{(int)Next:X4}" : $"there is '{_text.AsSpan(_at, char.IsSurrogatePair(_text, _at) ? 2 : 1)}'";

    private int LineOf(int at) => _text.AsSpan(0, at).Count('\n') + 1;

    private static string NameOf(List<TomlName> path) => string.Join('.', path.Select(name => name.Text));

    private static TomlMistakeException Fail(int at, string sentence) => new(new Mistake(at, sentence));

    /// <summary>A statement can't be read on.</summary>
    private sealed class TomlMistakeException(Mistake mistake) : Exception(mistake.Sentence)
    {
        internal Mistake Mistake => mistake;
    }
}
