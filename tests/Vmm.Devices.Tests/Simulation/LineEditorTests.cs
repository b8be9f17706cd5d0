using System.Text;
using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests;

public sealed class LineEditorTests
{
    private readonly List<byte> _echo = [];

    [Theory]
    [InlineData("help\r", "help", "help\n")]
    [InlineData("halp\u007f\u007f\u007f\belp\n", "elp", "halp\b \b\b \b\b \b\b \belp\n")]
    [InlineData("\u007fx\r", "x", "x\n")]
    [InlineData("abc\u0015x\r", "x", "abc\b \b\b \b\b \bx\n")]
    [InlineData("read vda\u0017vdb\r", "read vdb", "read vda\b \b\b \b\b \bvdb\n")]
    [InlineData("é\u007fe\r", "e", "é\b \be\n")]
    [InlineData("a\u001b\tb\r", "ab", "ab\n")]
    public void Keys_edit_the_line_and_show_it(string keys, string line, string echo)
    {
        LineEditor editor = new(interactive: true);
        Assert.Equal(LineEvent.Line, Type(editor, keys));
        Assert.Equal(line, editor.Line);
        Assert.Equal(echo, Encoding.UTF8.GetString([.. _echo]));
    }

    [Fact]
    public void Control_C_gives_the_line_up_and_control_D_ends_an_empty_one()
    {
        LineEditor editor = new(interactive: true);
        Assert.Equal(LineEvent.Aborted, Type(editor, "abc\u0003"));
        editor.Clear();
        Assert.Equal(LineEvent.None, Type(editor, "x\u0004"));
        Assert.Equal(LineEvent.None, Type(editor, "\u007f"));
        Assert.Equal(LineEvent.End, Type(editor, "\u0004"));
    }

    [Fact]
    public void Without_a_person_every_byte_is_text_and_nothing_is_shown()
    {
        LineEditor editor = new(interactive: false);
        Assert.Equal(LineEvent.Line, Type(editor, "a\u0003\u007f\r"));
        Assert.Equal("a\u0003\u007f", editor.Line);
        editor.Clear();
        Assert.Equal(LineEvent.None, Type(editor, "\n"));
        Assert.Equal(LineEvent.Line, Type(editor, "b\n"));
        Assert.Equal("b", editor.Line);
        Assert.Empty(_echo);
    }

    [Fact]
    public void A_line_has_a_bound()
    {
        LineEditor editor = new(interactive: true);
        for (int i = 0; i < LineEditor.LineBytesMax; i++) editor.Type((byte)'x', _echo);
        _echo.Clear();
        editor.Type((byte)'y', _echo);
        Assert.Equal(7, Assert.Single(_echo));
        Assert.Equal(LineEditor.LineBytesMax, editor.Line.Length);
    }

    private LineEvent Type(LineEditor editor, string keys)
    {
        LineEvent last = LineEvent.None;
        foreach (byte key in Encoding.UTF8.GetBytes(keys)) last = editor.Type(key, _echo);
        return last;
    }
}
