namespace Vmm.Devices;

/// <summary>
/// The MC146818 clock of a PC, without alarms and interrupts: an index port and a data port. It shows the host's UTC; the rest of its 128 bytes is memory
/// that starts at 0.
/// </summary>
/// <param name="clock">The host's clock.</param>
public sealed class CmosClock(TimeProvider clock) : IBusDevice
{
    /// <summary>Bytes of its range on the bus: index at 0, data at 1.</summary>
    public const ulong RangeLength = 2;

    private const int Registers = 128;
    private const int StatusA = 10, StatusB = 11, StatusC = 12, StatusD = 13;
    private const byte OscillatorOn = 0x26;
    private const byte Hours24 = 0x02;
    private const byte Valid = 0x80;
    private const int Century = 50;

    private readonly Lock _lock = new();
    private readonly byte[] _memory = new byte[Registers];
    private int _index;

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data)
    {
        data.Fill(0xff);
        if (offset > 1) return;
        // A wider read takes in the neighbour port, as on a bus of bytes; the index can't be read back.
        int at = offset == 1 ? 0 : 1;
        if (at < data.Length) data[at] = ReadRegister();
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        lock (_lock)
        {
            foreach (byte value in data)
            {
                // Bit 7 of the index masks the non-maskable interrupt, which this machine does not have.
                if (offset == 0) _index = value % Registers;
                else if (offset == 1 && _index > StatusD) _memory[_index] = value;
                offset++;
            }
        }
    }

    /// <inheritdoc/>
    public override string ToString() => "CMOS clock";

    private byte ReadRegister()
    {
        DateTimeOffset now = clock.GetUtcNow();
        lock (_lock)
        {
            int? value = _index switch
            {
                0 => now.Second,
                2 => now.Minute,
                4 => now.Hour,
                6 => (int)now.DayOfWeek + 1,
                7 => now.Day,
                8 => now.Month,
                9 => now.Year % 100,
                Century => now.Year / 100,
                _ => null,
            };
            // The guest finds numbers in binary-coded decimal and 24-hour form, and no update in progress.
            if (value is { } number) return (byte)(number / 10 * 16 + number % 10);
            return _index switch
            {
                StatusA => OscillatorOn,
                StatusB => Hours24,
                StatusC => 0,
                StatusD => Valid,
                _ => _memory[_index],
            };
        }
    }
}
