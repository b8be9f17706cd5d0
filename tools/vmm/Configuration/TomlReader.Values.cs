using System.Buffers;
using System.Globalization;
using System.Text;

namespace Vmm.Tool;

/// <content>Texts, numbers, arrays and inline tables.</content>
internal sealed partial class TomlReader
{
    private static readonly SearchValues<char> BareKeyLetters =
        SearchValues.Create("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");

    private TomlNode ReadValue()
    {
        switch (Next)
        {
            case '"' or '\'':
                int start = _at;
                return new TomlScalar(start, ReadString(allowsLines: true));
            case '[':
                return ReadArray();
            case '{':
                return ReadInlineTable();
            default:
                return ReadWord();
        }
    }

    private TomlArray ReadArray()
    {
        TomlArray array = new(_at, isOfTables: false);
        ReadItems(array.At, ']', () => array.Items.Add(ReadValue()));
        return array;
    }

    private TomlTable ReadInlineTable()
    {
        TomlTable table = new(_at, TomlTableOrigin.Inline);
        ReadItems(table.At, '}', () => ReadSetting(table));
        return table;
    }

    /// <summary>Reads what stands between brackets, with commas between and lines of its own.</summary>
    private void ReadItems(int start, char close, Action readItem)
    {
        if (++_depth > DepthMax) throw Fail(start, $"more than {DepthMax} brackets inside of each other: no setting takes that");
        _at++;
        SkipLines();
        while (Next != close)
        {
            if (IsAtEnd) throw Fail(start, $"'{_text[start]}' is not closed: write '{close}' where it ends");
            readItem();
            SkipLines();
            if (Next == ',')
            {
                _at++;
                SkipLines();
            }
            else if (Next != close && !IsAtEnd)
            {
                throw Fail(_at, $"{Found} where ',' or '{close}' belongs, for '{_text[start]}' of line {LineOf(start)} is not closed");
            }
        }
        _at++;
        _depth--;
    }

    /// <summary>Reads a number or a boolean.</summary>
    private TomlScalar ReadWord()
    {
        int start = _at;
        while (BareKeyLetters.Contains(Next) || Next is '+' or '.' or ':') _at++;
        string word = _text[start.._at];
        if (word.Length == 0) throw Fail(start, $"{Found} where a value belongs: a text stands in quotes, as in \"text\"");
        if (ValueOf(word) is { } value) return new TomlScalar(start, value);
        throw Fail(start, $"'{word}' {(IsDate(word) ? "is a date or a time, which no setting takes: a text stands in quotes"
            : IsDigits(word, 16) ? "is no number: it begins with 0, or has more than 64 bits"
            : $"is no value: give a number, true or false; a text stands in quotes, as in \"{word}\"")}");
    }

    private static bool IsDate(string word) => word.Length >= 8 && char.IsAsciiDigit(word[0]) && (word[4] == '-' || word[2] == ':');

    private static object? ValueOf(string word)
    {
        switch (word)
        {
            case "true": return true;
            case "false": return false;
            case "inf" or "+inf": return double.PositiveInfinity;
            case "-inf": return double.NegativeInfinity;
            case "nan" or "+nan" or "-nan": return double.NaN;
        }
        int radix = word.Length < 3 || word[0] != '0' ? 10 : word[1] switch { 'x' => 16, 'o' => 8, 'b' => 2, _ => 10 };
        if (radix != 10) return IsDigits(word.AsSpan(2), radix) ? WholeNumber(word.AsSpan(2), radix, isNegative: false) : null;
        ReadOnlySpan<char> whole = word.AsSpan(word[0] is '+' or '-' ? 1 : 0), rest = "";
        int end = whole.IndexOfAny('.', 'e', 'E');
        if (end >= 0)
        {
            rest = whole[end..];
            whole = whole[..end];
        }
        if (!IsDigits(whole, 10) || (whole.Length > 1 && whole[0] == '0')) return null;
        if (rest.IsEmpty) return WholeNumber(whole, 10, word[0] == '-');
        int exponent = rest.IndexOfAny('e', 'E');
        ReadOnlySpan<char> fraction = exponent < 0 ? rest : rest[..exponent];
        if (!fraction.IsEmpty && !IsDigits(fraction[1..], 10)) return null;
        if (exponent >= 0)
        {
            ReadOnlySpan<char> power = rest[(exponent + 1)..];
            if (!IsDigits(power.IsEmpty || power[0] is not ('+' or '-') ? power : power[1..], 10)) return null;
        }
        return double.Parse(word.Replace("_", "", StringComparison.Ordinal), NumberStyles.Float, CultureInfo.InvariantCulture);
    }

    /// <summary>A whole number; null if it has more than 64 bits.</summary>
    private static object? WholeNumber(ReadOnlySpan<char> digits, int radix, bool isNegative)
    {
        ulong value = 0, most = long.MaxValue + (isNegative ? 1UL : 0);
        foreach (char letter in digits)
        {
            if (letter == '_') continue;
            ulong digit = (ulong)DigitOf(letter);
            if (value > (most - digit) / (ulong)radix) return null;
            value = value * (ulong)radix + digit;
        }
        return isNegative ? -(long)value : (long)value;
    }

    /// <summary>Whether a text is digits; '_' may stand between two of them.</summary>
    private static bool IsDigits(ReadOnlySpan<char> text, int radix)
    {
        bool wasDigit = false;
        foreach (char letter in text)
        {
            bool isDigit = DigitOf(letter) is var value && value >= 0 && value < radix;
            if (!isDigit && !(letter == '_' && wasDigit)) return false;
            wasDigit = isDigit;
        }
        return wasDigit;
    }

    private static int DigitOf(char letter) => "0123456789abcdef".IndexOf(char.ToLowerInvariant(letter), StringComparison.Ordinal);

    /// <summary>Reads a text in quotes, single or double, of one line or, in three quotes, of several.</summary>
    private string ReadString(bool allowsLines)
    {
        int start = _at;
        char quote = Next;
        string end = new(quote, 3);
        bool hasLines = allowsLines && _text.AsSpan(_at).StartsWith(end);
        if (!hasLines) end = quote.ToString();
        _at += end.Length;
        // A line end behind the opening quotes is no part of the text.
        if (hasLines) SkipLineEnd();
        StringBuilder value = new();
        while (!_text.AsSpan(_at).StartsWith(end))
        {
            if (IsAtEnd || (!hasLines && Next is '\r' or '\n'))
                throw Fail(start, $"the text is not closed: write {end} where it ends{(hasLines ? "" : ", on the same line")}");
            if (quote == '"' && Next == '\\') ReadEscape(value, hasLines);
            else if (hasLines && (Next == '\n' || _text.AsSpan(_at).StartsWith("\r\n"))) value.Append(_text[_at++]);
            else
            {
                CheckLetter();
                value.Append(_text[_at - 1]);
            }
        }
        _at += end.Length;
        // Up to two quotes may stand before the three that close.
        for (int i = 0; hasLines && i < 2 && Next == quote; i++, _at++) value.Append(quote);
        return value.ToString();
    }

    private void ReadEscape(StringBuilder value, bool hasLines)
    {
        int start = _at++;
        char letter = Next;
        int digits = letter switch { 'x' => 2, 'u' => 4, 'U' => 8, _ => 0 };
        if (hasLines && letter is ' ' or '\t' or '\r' or '\n' && SkipLineBreak()) return;
        int which = "btnfre\"\\xuU".IndexOf(letter, StringComparison.Ordinal);
        if (which < 0)
            throw Fail(start, "'\\' begins an escape such as \\n, \\t, \\\" or \\u00E9: write '\\\\' for the character itself, "
                + "or the text in single quotes");
        _at++;
        if (digits == 0)
        {
            value.Append("\b\t\n\f\r\u001b\"\\"[which]);
            return;
        }
        ReadOnlySpan<char> code = _text.AsSpan(_at, Math.Min(digits, _text.Length - _at));
        uint number = 0;
        // The parser takes characters of zero behind the digits.
        bool isNumber = code.Length == digits && !code.Contains('\0')
            && uint.TryParse(code, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out number);
        if (!isNumber || !Rune.IsValid(number))
            throw Fail(start, $"\\{letter} is followed by {digits} hexadecimal digits of a character of Unicode");
        value.Append(new Rune(number));
        _at += digits;
    }

    /// <summary>Behind a '\': goes over the end of the line and what is empty after it.</summary>
    /// <returns>False if something else stands on the line.</returns>
    private bool SkipLineBreak()
    {
        int start = _at;
        SkipSpaces();
        if (!SkipLineEnd())
        {
            _at = start;
            return false;
        }
        do SkipSpaces();
        while (SkipLineEnd());
        return true;
    }
}
