using System.Text;

namespace Vmm.Devices.Simulation;

/// <summary>The line a person types on a terminal: echoed, edited, completed, and remembered.</summary>
/// <param name="prompt">What stands before the line; printed again when the screen is cleared.</param>
/// <param name="words">What Tab completes.</param>
/// <param name="columns">How wide the terminal is now; 0 if that is not known.</param>
internal sealed class LineEditor(string prompt, IReadOnlyList<string> words, Func<int> columns) : ILineSource
{
    /// <summary>Lines remembered.</summary>
    private const int HistoryMax = 100;

    private const byte Bell = 0x07;
    private static readonly Rune Blank = new(' ');

    private readonly TerminalCursor _screen = new(columns);
    private readonly KeyDecoder _keys = new();
    private readonly List<Rune> _line = [];
    private readonly List<string> _history = [];
    private int _cursor;
    private int _recalled;
    private bool _afterReturn;
    private bool _isAmbiguous;

    public LineEvent Type(byte value, List<byte> echo)
    {
        bool afterReturn = _afterReturn;
        _afterReturn = value == '\r';
        // "\r\n" is one end of line.
        if (value == '\n' && afterReturn) return LineEvent.None;
        switch (_keys.Feed(value))
        {
            case EditKey.Enter:
                // What follows comes below all of the line.
                MoveTo(_line.Count, echo);
                echo.Add((byte)'\n');
                return LineEvent.Line;
            case EditKey.Abort:
                echo.AddRange("^C\n"u8);
                return LineEvent.Aborted;
            case EditKey.EndOrDelete when _line.Count == 0:
                return LineEvent.End;
            case EditKey key:
                Edit(key, echo);
                return LineEvent.None;
        }
    }

    public string TakeLine()
    {
        string line = string.Concat(_line);
        _line.Clear();
        _cursor = 0;
        _isAmbiguous = false;
        if (line.Length > 0 && (_history.Count == 0 || _history[^1] != line)) _history.Add(line);
        if (_history.Count > HistoryMax) _history.RemoveAt(0);
        _recalled = _history.Count;
        return line;
    }

    private void Edit(EditKey key, List<byte> echo)
    {
        bool wasAmbiguous = _isAmbiguous;
        _isAmbiguous = false;
        switch (key)
        {
            case EditKey.Text:
                Insert(_keys.Text, echo);
                break;
            case EditKey.Backspace:
                Erase(_cursor - 1, _cursor, echo);
                break;
            case EditKey.Delete or EditKey.EndOrDelete:
                Erase(_cursor, _cursor + 1, echo);
                break;
            case EditKey.EraseLine:
                Erase(0, _line.Count, echo);
                break;
            case EditKey.EraseToEnd:
                Erase(_cursor, _line.Count, echo);
                break;
            case EditKey.EraseWord:
                Erase(LastWordStart(), _cursor, echo);
                break;
            case EditKey.Left or EditKey.Right or EditKey.Home or EditKey.End:
                MoveTo(key switch { EditKey.Left => _cursor - 1, EditKey.Right => _cursor + 1, EditKey.Home => 0, _ => _line.Count }, echo);
                break;
            case EditKey.Older or EditKey.Newer:
                Recall(_recalled + (key == EditKey.Older ? -1 : 1), echo);
                break;
            case EditKey.Complete:
                Complete(wasAmbiguous, echo);
                break;
            case EditKey.ClearScreen:
                echo.AddRange("\x1b[H\x1b[2J"u8);
                ShowAnew(echo);
                break;
        }
    }

    private void Insert(Rune character, List<byte> echo)
    {
        if (_line.Count == ILineSource.LineBytesMax)
        {
            echo.Add(Bell);
            return;
        }
        _line.Insert(_cursor, character);
        Show(_cursor++, echo);
        MoveBack(_line.Count, _cursor, echo);
    }

    /// <summary>Takes characters out; those outside of the line do not count.</summary>
    private void Erase(int start, int end, List<byte> echo)
    {
        start = Math.Max(start, 0);
        end = Math.Min(end, _line.Count);
        if (start >= end) return;
        MoveTo(start, echo);
        _line.RemoveRange(start, end - start);
        Show(start, echo);
        for (int i = start; i < end; i++) Show(Blank, echo);
        int shown = _line.Count + end - start;
        Settle(shown, echo);
        MoveBack(shown, start, echo);
    }

    private void MoveTo(int position, List<byte> echo)
    {
        position = Math.Clamp(position, 0, _line.Count);
        MoveBack(_cursor, position, echo);
        if (_cursor >= position)
        {
            _cursor = position;
            return;
        }
        for (; _cursor < position; _cursor++) Show(_line[_cursor], echo);
        Settle(_cursor, echo);
    }

    private void Recall(int line, List<byte> echo)
    {
        if (line < 0 || line > _history.Count) return;
        _recalled = line;
        Erase(0, _line.Count, echo);
        if (line == _history.Count) return;
        foreach (Rune character in _history[line].EnumerateRunes()) Insert(character, echo);
    }

    /// <summary>Completes the word as far as it is sure; asked again at once, it shows what there is.</summary>
    private void Complete(bool again, List<byte> echo)
    {
        int wordStart = _cursor;
        while (wordStart > 0 && _line[wordStart - 1].Value is not (' ' or ';')) wordStart--;
        string start = string.Concat(_line.Take(_cursor).Skip(wordStart));
        string[] matches = [.. words.Where(word => word.StartsWith(start, StringComparison.Ordinal))];
        if (matches.Length == 0)
        {
            echo.Add(Bell);
            return;
        }
        string common = matches.Aggregate(CommonStart);
        foreach (Rune character in common.AsSpan(start.Length).EnumerateRunes()) Insert(character, echo);
        if (matches.Length == 1) Insert(new Rune(' '), echo);
        if (matches.Length == 1 || common.Length > start.Length) return;
        _isAmbiguous = true;
        if (again) ShowBelow(string.Join("  ", matches), echo);
        else echo.Add(Bell);
    }

    /// <summary>Shows a text below the line, and the line anew below that.</summary>
    private void ShowBelow(string text, List<byte> echo)
    {
        int cursor = _cursor;
        MoveTo(_line.Count, echo);
        _cursor = cursor;
        echo.AddRange(Encoding.UTF8.GetBytes($"\n{text}\n"));
        ShowAnew(echo);
    }

    /// <summary>Shows prompt and line on a line of the screen that is empty.</summary>
    private void ShowAnew(List<byte> echo)
    {
        echo.AddRange(Encoding.UTF8.GetBytes(prompt));
        Show(0, echo);
        MoveBack(_line.Count, _cursor, echo);
    }

    /// <summary>Where the word before the cursor starts; the blanks behind it are part of it.</summary>
    private int LastWordStart()
    {
        int start = _cursor;
        while (start > 0 && _line[start - 1].Value == ' ') start--;
        while (start > 0 && _line[start - 1].Value != ' ') start--;
        return start;
    }

    private static string CommonStart(string a, string b) => a[..a.AsSpan().CommonPrefixLength(b)];

    private void Show(int start, List<byte> echo)
    {
        for (int i = start; i < _line.Count; i++) Show(_line[i], echo);
        Settle(_line.Count, echo);
    }

    private static void Show(Rune character, List<byte> echo)
    {
        Span<byte> bytes = stackalloc byte[4];
        echo.AddRange(bytes[..character.EncodeToUtf8(bytes)]);
    }

    private void MoveBack(int from, int to, List<byte> echo)
    {
        if (to < from) _screen.MoveBack(prompt.Length + from, prompt.Length + to, echo);
    }

    /// <summary>Characters were shown up to an index of the line, or behind its end.</summary>
    private void Settle(int at, List<byte> echo) => _screen.Settle(prompt.Length + at, at < _line.Count ? _line[at] : Blank, echo);
}
