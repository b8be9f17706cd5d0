namespace Vmm.Tool;

/// <summary>What a key asks for.</summary>
internal enum TopKey
{
    /// <summary>Ends.</summary>
    Quit,
    /// <summary>The row, or line, above.</summary>
    Up,
    /// <summary>The row, or line, below.</summary>
    Down,
    /// <summary>Looks inside the selected device.</summary>
    Inside,
    /// <summary>Back to all devices.</summary>
    Back,
    /// <summary>Sorts by the next column.</summary>
    Sort,
}

internal static class TopKeys
{
    private const byte CtrlC = 3, Escape = 27, Delete = 127, BackspaceKey = 8;

    /// <summary>What some bytes of a terminal in raw mode mean. A sequence comes in one piece.</summary>
    internal static IEnumerable<TopKey> Read(byte[] bytes)
    {
        for (int i = 0; i < bytes.Length; i++)
        {
            bool isSequence = bytes[i] == Escape && i + 1 < bytes.Length && bytes[i + 1] is ((byte)'[' or (byte)'O');
            if (isSequence)
            {
                // Its last byte is its name.
                for (i += 2; i < bytes.Length && bytes[i] is >= 0x20 and < 0x40;) i++;
                if (i < bytes.Length && OfSequence(bytes[i]) is { } moved) yield return moved;
            }
            else if (Of(bytes[i]) is { } key)
            {
                yield return key;
            }
        }
    }

    private static TopKey? OfSequence(byte name) => name switch
    {
        (byte)'A' => TopKey.Up,
        (byte)'B' => TopKey.Down,
        (byte)'C' => TopKey.Inside,
        (byte)'D' => TopKey.Back,
        _ => null,
    };

    private static TopKey? Of(byte key) => key switch
    {
        (byte)'q' or CtrlC => TopKey.Quit,
        (byte)'k' => TopKey.Up,
        (byte)'j' => TopKey.Down,
        (byte)'s' => TopKey.Sort,
        (byte)'\r' or (byte)'\n' or (byte)'i' => TopKey.Inside,
        Escape or Delete or BackspaceKey => TopKey.Back,
        _ => null,
    };
}
