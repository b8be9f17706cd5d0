using System.Globalization;

namespace Vmm.Devices.Simulation;

/// <summary>What a word after a command has to look like, by the parameter's name.</summary>
internal static class ShellParameter
{
    private const string HexPrefix = "0x";
    private const int MebibyteShift = 20;

    /// <summary>Reads a word.</summary>
    /// <param name="parameter">The parameter's bare name.</param>
    /// <param name="word">What was typed.</param>
    /// <param name="value">An unsigned number, bytes, or the text itself.</param>
    /// <returns>Null if it fits; else a sentence.</returns>
    internal static string? Read(string parameter, string word, out object value)
    {
        value = word;
        switch (parameter)
        {
            case "OFFSET" or "LENGTH" or "SEED" or "COUNT" or "BYTES" or "PORT" or "CID":
                if (!TryParseNumber(word, 0, out ulong number))
                    return $"'{word}' is no {parameter}: give a number such as 4096, 0x1000 or 4K";
                value = number;
                return null;
            case "MIB":
                if (!TryParseNumber(word, MebibyteShift, out ulong bytes))
                    return $"'{word}' is no {parameter}: give a number of MiB such as 64, or 64K, 64M, 1G";
                value = bytes;
                return null;
            case "HEX":
                if (!TryParseHex(word, out byte[] data)) return $"'{word}' is no {parameter}: give an even number of hexadecimal digits";
                value = data;
                return null;
            default:
                return null;
        }
    }

    private static bool TryParseHex(string word, out byte[] data)
    {
        data = new byte[word.Length / 2];
        return word.Length > 0 && Convert.FromHexString(word, data, out _, out int written) == System.Buffers.OperationStatus.Done
            && written == data.Length;
    }

    /// <summary>Decimal or 0x…, with K, M or G for powers of 1024.</summary>
    /// <param name="word">What was typed.</param>
    /// <param name="bareShift">The power of two that a number without such a letter counts.</param>
    /// <param name="number">The number.</param>
    private static bool TryParseNumber(string word, int bareShift, out ulong number)
    {
        if (word.StartsWith(HexPrefix, StringComparison.OrdinalIgnoreCase))
            return ulong.TryParse(word.AsSpan(HexPrefix.Length), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out number);
        int unit = word.Length == 0 ? 0 : char.ToUpperInvariant(word[^1]) switch { 'K' => 10, 'M' => 20, 'G' => 30, _ => 0 };
        int shift = unit == 0 ? bareShift : unit;
        ReadOnlySpan<char> digits = unit == 0 ? word : word.AsSpan(0, word.Length - 1);
        if (!ulong.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out number) || number > ulong.MaxValue >> shift)
            return false;
        number <<= shift;
        return true;
    }
}
