using System.Buffers.Text;
using System.Text;

namespace Vmm.Devices;

/// <summary>The first words of a program of the host: the line that says which port of the guest it wants, and the answer to it.</summary>
internal static class VsockGreeting
{
    /// <summary>Longest line, with its end.</summary>
    internal const int BytesMax = 32;

    private static ReadOnlySpan<byte> Word => "connect"u8;

    /// <summary>White space between words, as far as it is ASCII.</summary>
    private static ReadOnlySpan<byte> Space => " \t\r\v\f"u8;

    /// <summary>
    /// Reads the line as Firecracker does: words between any white space, the first is "connect" in any case, the second the port. Further
    /// words mean nothing.
    /// </summary>
    internal static bool TryParse(ReadOnlySpan<byte> line, out uint port)
    {
        ReadOnlySpan<byte> word = TakeWord(ref line), number = TakeWord(ref line);
        if (number.Length > 1 && number[0] == (byte)'+') number = number[1..];
        port = 0;
        return Ascii.EqualsIgnoreCase(word, Word) && Utf8Parser.TryParse(number, out port, out int used) && used == number.Length;
    }

    private static ReadOnlySpan<byte> TakeWord(ref ReadOnlySpan<byte> line)
    {
        line = line.TrimStart(Space);
        int length = line.IndexOfAny(Space);
        ReadOnlySpan<byte> word = length < 0 ? line : line[..length];
        line = line[word.Length..];
        return word;
    }

    /// <summary>Says that the guest accepted, with the port by which the guest sees the program.</summary>
    /// <returns>Bytes written.</returns>
    internal static int WriteAnswer(uint hostPort, Span<byte> line)
    {
        "OK "u8.CopyTo(line);
        Utf8Formatter.TryFormat(hostPort, line[3..], out int digits);
        line[3 + digits] = (byte)'\n';
        return 4 + digits;
    }
}
