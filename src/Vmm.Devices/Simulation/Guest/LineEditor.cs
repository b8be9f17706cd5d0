using System.Text;

namespace Vmm.Devices.Simulation;

/// <summary>What a byte did to the line that is being typed.</summary>
internal enum LineEvent
{
    None,
    /// <summary>The line is done.</summary>
    Line,
    /// <summary>The line was given up (Ctrl-C).</summary>
    Aborted,
    /// <summary>The end, on an empty line (Ctrl-D).</summary>
    End,
}

/// <summary>The line that is being typed on a console: bytes in, echo out. Editing is for people; without it every byte but the line's end is text.</summary>
/// <param name="interactive">Whether to echo and to edit.</param>
internal sealed class LineEditor(bool interactive)
{
    /// <summary>Most bytes of a line; the rest of it is dropped, with a bell.</summary>
    internal const int LineBytesMax = 64 * 1024;

    internal const byte CtrlC = 0x03;
    private const byte CtrlD = 0x04;
    private const byte Bell = 0x07;
    private const byte Backspace = 0x08;
    private const byte CtrlU = 0x15;
    private const byte CtrlW = 0x17;
    private const byte Delete = 0x7f;

    private readonly List<byte> _line = [];
    private bool _afterReturn;

    /// <summary>What was typed so far.</summary>
    internal string Line => Encoding.UTF8.GetString([.. _line]);

    /// <summary>Forgets what was typed.</summary>
    internal void Clear() => _line.Clear();

    /// <summary>Takes one byte.</summary>
    /// <param name="value">The byte.</param>
    /// <param name="echo">What to print for it is added here.</param>
    internal LineEvent Type(byte value, List<byte> echo)
    {
        bool afterReturn = _afterReturn;
        _afterReturn = value == '\r';
        // "\r\n" is one end of line.
        if (value == '\n' && afterReturn) return LineEvent.None;
        if (value is (byte)'\r' or (byte)'\n')
        {
            if (interactive) echo.Add((byte)'\n');
            return LineEvent.Line;
        }
        return interactive ? Edit(value, echo) : Append(value, echo);
    }

    private LineEvent Edit(byte value, List<byte> echo)
    {
        switch (value)
        {
            case CtrlC:
                echo.AddRange("^C\n"u8);
                return LineEvent.Aborted;
            case CtrlD:
                return _line.Count == 0 ? LineEvent.End : LineEvent.None;
            case Backspace or Delete:
                Erase(echo);
                return LineEvent.None;
            case CtrlU:
                while (_line.Count > 0) Erase(echo);
                return LineEvent.None;
            case CtrlW:
                while (_line.Count > 0 && _line[^1] == ' ') Erase(echo);
                while (_line.Count > 0 && _line[^1] != ' ') Erase(echo);
                return LineEvent.None;
            case < 0x20:
                return LineEvent.None;
            default:
                return Append(value, echo);
        }
    }

    private LineEvent Append(byte value, List<byte> echo)
    {
        bool fits = _line.Count < LineBytesMax;
        if (fits) _line.Add(value);
        if (interactive) echo.Add(fits ? value : Bell);
        return LineEvent.None;
    }

    private void Erase(List<byte> echo)
    {
        if (_line.Count == 0) return;
        // The bytes after the first of a UTF-8 character take no column of their own.
        while (_line.Count > 1 && (_line[^1] & 0xc0) == 0x80) _line.RemoveAt(_line.Count - 1);
        _line.RemoveAt(_line.Count - 1);
        echo.AddRange("\b \b"u8);
    }
}
