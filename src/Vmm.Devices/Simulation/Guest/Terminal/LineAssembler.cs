using System.Text;

namespace Vmm.Devices.Simulation;

/// <summary>Lines from a program or a file: every byte but the line's end is text.</summary>
internal sealed class LineAssembler : ILineSource
{
    private readonly List<byte> _line = [];
    private bool _afterReturn;

    public LineEvent Type(byte value, List<byte> echo)
    {
        bool afterReturn = _afterReturn;
        _afterReturn = value == '\r';
        // "\r\n" is one end of line.
        if (value == '\n' && afterReturn) return LineEvent.None;
        if (value is (byte)'\r' or (byte)'\n') return LineEvent.Line;
        if (_line.Count < ILineSource.LineBytesMax) _line.Add(value);
        return LineEvent.None;
    }

    public string TakeLine()
    {
        string line = Encoding.UTF8.GetString([.. _line]);
        _line.Clear();
        return line;
    }
}
