using System.Globalization;
using System.Text;

namespace Vmm.Devices.Simulation;

/// <summary>
/// Moves a terminal's cursor along text that may take several of its rows. Positions count characters from the start of the first row. A
/// backspace does not leave a row, and a character in the last column leaves the cursor in it until the next one comes.
/// </summary>
/// <param name="columns">How wide the terminal is now; 0 if that is not known, which is taken for wide enough.</param>
internal sealed class TerminalCursor(Func<int> columns)
{
    private const byte Back = (byte)'\b';

    /// <summary>Moves it back.</summary>
    internal void MoveBack(int from, int to, List<byte> echo)
    {
        int width = columns();
        int rows = width > 0 ? from / width - to / width : 0;
        if (rows == 0)
        {
            for (int i = to; i < from; i++) echo.Add(Back);
            return;
        }
        Append($"\r\u001b[{rows}A", echo);
        if (to % width > 0) Append($"\u001b[{to % width}C", echo);
    }

    /// <summary>After text was printed up to a position: has the cursor go on to the next row if that is where the position is.</summary>
    /// <param name="at">The position.</param>
    /// <param name="next">What is shown there: it is printed again to get there.</param>
    /// <param name="echo">Where to print.</param>
    internal void Settle(int at, Rune next, List<byte> echo)
    {
        int width = columns();
        if (width <= 0 || at == 0 || at % width != 0) return;
        Append(next.ToString(), echo);
        echo.Add(Back);
    }

    private static void Append(string text, List<byte> echo) => echo.AddRange(Encoding.UTF8.GetBytes(text));

    private static void Append(FormattableString text, List<byte> echo) => Append(text.ToString(CultureInfo.InvariantCulture), echo);
}
