using System.Text;

namespace Vmm.Tool;

/// <summary>What a library prints by itself, line by line. The console calls it from one thread at a time.</summary>
/// <param name="say">Gets each line, without its end.</param>
internal sealed class LinesOfOthers(Action<string> say) : TextWriter
{
    private readonly StringBuilder _line = new();

    public override Encoding Encoding => Encoding.UTF8;

    public override void Write(char value)
    {
        if (value != '\n')
        {
            _line.Append(value);
            return;
        }
        string line = _line.ToString();
        _line.Clear();
        say(line);
    }
}
