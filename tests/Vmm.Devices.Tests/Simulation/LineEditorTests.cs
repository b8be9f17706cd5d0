using System.Text;
using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests;

public sealed class LineEditorTests
{
    private const string Up = "\u001b[A";
    private const string Down = "\u001b[B";
    private const string Right = "\u001b[C";
    private const string Left = "\u001b[D";

    private static readonly string[] Words = ["read", "reset", "write"];

    private readonly LineEditor _editor = new("> ", Words, () => 0);
    private readonly List<byte> _echo = [];

    [Theory]
    [InlineData("help\r", "help")]
    [InlineData("halp\u007f\u007f\u007f\belp\n", "elp")]
    [InlineData("\u007fx\r", "x")]
    [InlineData("abc\u0015x\r", "x")]
    [InlineData("read vda\u0017vdb\r", "read vdb")]
    [InlineData("read vda  \u0017x\r", "read x")]
    [InlineData("é\u007fe\r", "e")]
    [InlineData("hlp" + Left + Left + "e\r", "help")]
    [InlineData("elp\u0001h\u0005!\r", "help!")]
    [InlineData("help\u001b[H\u001b[3~\u001b[F.\r", "elp.")]
    [InlineData("ab" + Left + Left + Left + "x" + Right + Right + Right + "y\r", "xaby")]
    [InlineData("help me" + Left + Left + Left + "\u000b\r", "help")]
    [InlineData("abc" + Left + "\u0004d\r", "abd")]
    [InlineData("a\u001b[15~b\u001bOPc\u001b[1;5Zd\r", "abcd")]
    public void Keys_edit_the_line_and_the_screen_shows_it(string keys, string line)
    {
        Assert.Equal(LineEvent.Line, Type(keys));
        Assert.Equal(line + "\n", Screen());
        Assert.Equal(line, _editor.TakeLine());
    }

    [Fact]
    public void Former_lines_come_back_and_go_again()
    {
        Enter("first");
        Enter("second");
        Enter("second");
        Assert.Equal("second", Recalled(Up));
        Assert.Equal("first", Recalled(Up + Up));
        Assert.Equal("first", Recalled(Up + Up + Up + Up));
        Assert.Equal("first!", Recalled(Up + Up + Down + "!"));
        Assert.Equal("", Recalled(Up + Down + Down));
    }

    [Theory]
    [InlineData("w\tx", "write x")]
    [InlineData("re\tad", "read")]
    [InlineData("lsdev;w\t", "lsdev;write ")]
    [InlineData("x\t", "x")]
    [InlineData("read w\t", "read write ")]
    public void Tab_completes_as_far_as_it_is_sure(string keys, string line) => Assert.Equal(line, Recalled(keys));

    [Theory]
    [InlineData("re\t\t", "> re", "re\a\nread  reset\n> re")]
    [InlineData("rex" + Left + "\t\t", "> rex", "rex\b\ax\nread  reset\n> rex\b")]
    [InlineData("r\t\t", "> re", "re\a")]
    [InlineData("re\t" + Left + Right + "\t", "> re", "re\a\be\a")]
    [InlineData("\t\t", "> ", "\a\nread  reset  write\n> ")]
    [InlineData("q\t\t", "> q", "q\a\a")]
    public void Tab_a_second_time_shows_what_there_is(string keys, string line, string echo)
    {
        Type(keys);
        Assert.Equal(echo, Encoding.UTF8.GetString([.. _echo]));
        Type("\u000c");
        Assert.Contains("\u001b[2J" + line, Encoding.UTF8.GetString([.. _echo]), StringComparison.Ordinal);
    }

    [Fact]
    public void A_cleared_screen_shows_prompt_and_line()
    {
        Type("ab" + Left + "\u000c");
        Assert.EndsWith("\u001b[H\u001b[2J> ab\b", Encoding.UTF8.GetString([.. _echo]));
    }

    [Fact]
    public void Control_C_gives_the_line_up_and_control_D_ends_an_empty_one()
    {
        Assert.Equal(LineEvent.Aborted, Type("abc\u0003"));
        _editor.TakeLine();
        Assert.Equal(LineEvent.None, Type("x\u0004"));
        Assert.Equal(LineEvent.None, Type("\u007f"));
        Assert.Equal(LineEvent.End, Type("\u0004"));
    }

    [Fact]
    public void A_line_has_a_bound()
    {
        for (int i = 0; i < ILineSource.LineBytesMax; i++) _editor.Type((byte)'x', _echo);
        _echo.Clear();
        _editor.Type((byte)'y', _echo);
        Assert.Equal(7, Assert.Single(_echo));
        Assert.Equal(ILineSource.LineBytesMax, _editor.TakeLine().Length);
    }

    [Fact]
    public void Any_bytes_at_all_leave_the_editor_sound()
    {
        const int Seed = 7;
        Random random = new(Seed);
        for (int i = 0; i < 200_000; i++)
        {
            // Often escapes and cursor keys, now and then anything.
            byte value = random.Next(3) == 0 ? "\u001b[ABCDHF3~O\t\u007f"u8[random.Next(13)] : (byte)random.Next(256);
            _echo.Clear();
            if (_editor.Type(value, _echo) == LineEvent.Line) _editor.TakeLine();
        }
    }

    [Fact]
    public void Lines_of_a_program_are_every_byte_of_them_and_not_shown()
    {
        LineAssembler lines = new();
        Assert.Equal(LineEvent.Line, Type(lines, "a\u0003\u007f\r"));
        Assert.Equal("a\u0003\u007f", lines.TakeLine());
        Assert.Equal(LineEvent.None, Type(lines, "\n"));
        Assert.Equal(LineEvent.Line, Type(lines, "b\n"));
        Assert.Equal("b", lines.TakeLine());
        Assert.Empty(_echo);
    }

    [Theory]
    [InlineData(4)]
    [InlineData(7)]
    [InlineData(80)]
    public void Keys_edit_a_line_of_several_rows_and_the_screen_shows_it(int columns)
    {
        const int Seed = 11;
        Random random = new(Seed);
        for (int line = 0; line < 200; line++)
        {
            LineEditor editor = new("> ", Words, () => columns);
            SmallScreen screen = new(columns, "> ");
            for (int key = 0; key < 60; key++)
            {
                string keys = random.Next(12) switch
                {
                    0 => Left,
                    1 => Left + Left + Left + Left + Left,
                    2 => Right,
                    3 => "\u0001",
                    4 => "\u0005",
                    5 => "\u007f",
                    6 => "\u0017",
                    7 => "\u000b",
                    8 => "\u001b[3~",
                    _ => ((char)random.Next('a', 'z')).ToString(),
                };
                List<byte> echo = [];
                foreach (byte value in Encoding.UTF8.GetBytes(keys)) editor.Type(value, echo);
                screen.Print(echo);
            }
            List<byte> end = [];
            editor.Type((byte)'\r', end);
            string typed = editor.TakeLine();
            Assert.Equal(("> " + typed).TrimEnd(), screen.Text);
            screen.Print(end);
            Assert.True(screen.Row > ("> " + typed).Length / columns, "the next line comes below");
        }
    }

    private LineEvent Type(string keys) => Type(_editor, keys);

    private LineEvent Type(ILineSource source, string keys)
    {
        LineEvent last = LineEvent.None;
        foreach (byte key in Encoding.UTF8.GetBytes(keys)) last = source.Type(key, _echo);
        return last;
    }

    private void Enter(string line)
    {
        Type(line + "\r");
        _editor.TakeLine();
    }

    /// <summary>What the keys make of the line, which is then given up.</summary>
    private string Recalled(string keys)
    {
        _echo.Clear();
        Type(keys);
        string line = _editor.TakeLine();
        Assert.Equal(line, Screen());
        return line;
    }

    /// <summary>What a terminal shows after the echo: characters go where the cursor is, a backspace moves it.</summary>
    private string Screen()
    {
        List<Rune> screen = [];
        int cursor = 0;
        foreach (Rune character in Encoding.UTF8.GetString([.. _echo]).EnumerateRunes())
        {
            if (character.Value == '\a') continue;
            if (character.Value == '\b')
            {
                cursor--;
            }
            else if (character.Value == '\n')
            {
                while (screen.Count > 0 && screen[^1].Value == ' ') screen.RemoveAt(screen.Count - 1);
                return string.Concat(screen) + "\n";
            }
            else if (cursor == screen.Count)
            {
                screen.Add(character);
                cursor++;
            }
            else
            {
                screen[cursor++] = character;
            }
        }
        return string.Concat(screen.Take(Math.Max(cursor, screen.FindLastIndex(rune => rune.Value != ' ') + 1)));
    }

    /// <summary>A terminal of few columns: a character in the last one leaves the cursor there until the next one comes (as xterm's do).</summary>
    private sealed class SmallScreen
    {
        private readonly int _columns;
        private readonly List<char[]> _rows = [];
        private int _column;
        private bool _wrapsNext;

        internal SmallScreen(int columns, string prompt)
        {
            _columns = columns;
            Print(Encoding.ASCII.GetBytes(prompt));
        }

        internal int Row { get; private set; }

        internal string Text => string.Concat(_rows.Select(row => new string(row))).TrimEnd();

        internal void Print(IReadOnlyList<byte> bytes)
        {
            for (int i = 0; i < bytes.Count; i++)
            {
                switch (bytes[i])
                {
                    case (byte)'\r': (_column, _wrapsNext) = (0, false); break;
                    case (byte)'\n': (Row, _column, _wrapsNext) = (Row + 1, 0, false); break;
                    case (byte)'\b': (_column, _wrapsNext) = (Math.Max(_column - 1, 0), false); break;
                    case 0x1b:
                        int end = i + 2;
                        while (bytes[end] < '@') end++;
                        int count = int.Parse(Encoding.ASCII.GetString([.. bytes.Skip(i + 2).Take(end - i - 2)]), System.Globalization.CultureInfo.InvariantCulture);
                        if (bytes[end] == 'A') Row -= count;
                        else if (bytes[end] == 'C') _column = Math.Min(_column + count, _columns - 1);
                        else Assert.Fail($"ESC[{count}{(char)bytes[end]}");
                        (i, _wrapsNext) = (end, false);
                        break;
                    default: Put((char)bytes[i]); break;
                }
            }
        }

        private void Put(char character)
        {
            if (_wrapsNext) (Row, _column) = (Row + 1, 0);
            while (_rows.Count <= Row) _rows.Add([.. Enumerable.Repeat(' ', _columns)]);
            _rows[Row][_column] = character;
            _wrapsNext = _column == _columns - 1;
            if (!_wrapsNext) _column++;
        }
    }
}
