using System.Text;

namespace Vmm.Devices.Simulation;

/// <summary>
/// Makes keys of the bytes a terminal sends: UTF-8 text, control characters, and the escape sequences of cursor keys (ECMA-48).
/// </summary>
internal sealed class KeyDecoder
{
    private const byte Escape = 0x1b;
    private const byte FirstPrintable = 0x20;

    /// <summary>Longest escape sequence that is followed; a longer one is no key of ours.</summary>
    private const int SequenceMax = 8;

    private readonly byte[] _character = new byte[4];
    private readonly byte[] _sequence = new byte[SequenceMax];
    private int _characterLength;
    private int _sequenceLength;
    private bool _inSequence;

    /// <summary>The character of a <see cref="EditKey.Text"/>.</summary>
    internal Rune Text { get; private set; }

    /// <summary>Takes one byte.</summary>
    internal EditKey Feed(byte value)
    {
        if (_inSequence) return FeedSequence(value);
        if (value >= FirstPrintable && value != 0x7f) return FeedCharacter(value);
        _characterLength = 0;
        switch (value)
        {
            case Escape:
                _inSequence = true;
                _sequenceLength = 0;
                return EditKey.None;
            case (byte)'\r' or (byte)'\n': return EditKey.Enter;
            case (byte)'\t': return EditKey.Complete;
            case (byte)'\b' or 0x7f: return EditKey.Backspace;
            default: return ControlKey((char)(value + '@'));
        }
    }

    private static EditKey ControlKey(char letter) => letter switch
    {
        'A' => EditKey.Home,
        'B' => EditKey.Left,
        'C' => EditKey.Abort,
        'D' => EditKey.EndOrDelete,
        'E' => EditKey.End,
        'F' => EditKey.Right,
        'K' => EditKey.EraseToEnd,
        'L' => EditKey.ClearScreen,
        'N' => EditKey.Newer,
        'P' => EditKey.Older,
        'U' => EditKey.EraseLine,
        'W' => EditKey.EraseWord,
        _ => EditKey.None,
    };

    private EditKey FeedCharacter(byte value)
    {
        // A byte that starts a character ends one that was cut short.
        if ((value & 0xc0) != 0x80) _characterLength = 0;
        _character[_characterLength++] = value;
        System.Buffers.OperationStatus status = Rune.DecodeFromUtf8(_character.AsSpan(0, _characterLength), out Rune rune, out _);
        if (status == System.Buffers.OperationStatus.NeedMoreData) return EditKey.None;
        _characterLength = 0;
        if (status != System.Buffers.OperationStatus.Done) return EditKey.None;
        Text = rune;
        return EditKey.Text;
    }

    private EditKey FeedSequence(byte value)
    {
        if (_sequenceLength == SequenceMax)
        {
            _inSequence = false;
            return EditKey.None;
        }
        _sequence[_sequenceLength++] = value;
        bool isIntroducer = _sequenceLength == 1 && value is (byte)'[' or (byte)'O';
        if (isIntroducer || value < '@') return EditKey.None;
        _inSequence = false;
        return (char)value switch
        {
            'A' => EditKey.Older,
            'B' => EditKey.Newer,
            'C' => EditKey.Right,
            'D' => EditKey.Left,
            'H' => EditKey.Home,
            'F' => EditKey.End,
            // [ digit ~
            '~' when _sequenceLength == 3 => _sequence[1] switch
            {
                (byte)'1' or (byte)'7' => EditKey.Home,
                (byte)'3' => EditKey.Delete,
                (byte)'4' or (byte)'8' => EditKey.End,
                _ => EditKey.None,
            },
            _ => EditKey.None,
        };
    }
}
