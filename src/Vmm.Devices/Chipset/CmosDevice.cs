namespace Vmm.Devices;

/// <summary>
/// A PC's real-time clock and its battery-backed bytes (Motorola MC146818): an index port and a data port. The clock runs on the host's;
/// the guest may set it. Alarms and the end of each second's update interrupt if they are enabled; the periodic interrupt, which no kernel
/// of this century waits for, never comes. An access of two bytes is one to each port.
/// </summary>
public sealed class CmosDevice : IBusDevice, ISavedState, IDisposable
{
    /// <summary>Bytes of its range on the bus; a PC has it at port 0x70.</summary>
    public const ulong RangeLength = 2;

    private const int ByteCount = 128;
    private const byte IndexMask = 0x7f; // the highest bit of the index masks the NMI

    private const int Seconds = 0x00;
    private const int SecondsAlarm = 0x01;
    private const int Minutes = 0x02;
    private const int MinutesAlarm = 0x03;
    private const int Hours = 0x04;
    private const int HoursAlarm = 0x05;
    private const int DayOfWeek = 0x06;
    private const int DayOfMonth = 0x07;
    private const int Month = 0x08;
    private const int Year = 0x09;
    private const int StatusA = 0x0a;
    private const int StatusB = 0x0b;
    private const int StatusC = 0x0c;
    private const int StatusD = 0x0d;
    private const int Century = 0x32;

    private const byte OscillatorOn32KHz = 0x26;
    private const byte UpdateInProgress = 0x80;
    private const byte SetClock = 0x80;
    private const byte BinaryFormat = 0x04;
    private const byte Hours24 = 0x02;
    private const byte RamValid = 0x80;
    private const byte AfternoonBit = 0x80;

    private const byte AlarmFlag = 0x20;
    private const byte UpdateFlag = 0x10;
    private const byte AnyInterrupt = 0x80;
    /// <summary>An alarm byte with both of these set matches every value.</summary>
    private const byte AlarmDoesNotCare = 0xc0;

    /// <summary>Last year the clock can be set to: it goes on from there, and time ends in 9999.</summary>
    private const int YearMax = 9000;

    private static readonly long UnixMillisecondsMin = new DateTimeOffset(1, 1, 1, 0, 0, 0, TimeSpan.Zero).ToUnixTimeMilliseconds();
    private static readonly long UnixMillisecondsMax = new DateTimeOffset(YearMax, 12, 31, 0, 0, 0, TimeSpan.Zero).ToUnixTimeMilliseconds();

    private readonly Lock _lock = new();
    private readonly TimeProvider _clock;
    private readonly byte[] _bytes = new byte[ByteCount];
    private TimeSpan _ahead;
    private byte _index;

    // What happened since register C was read last is worked out when the guest reads it; a timer runs only while an interrupt is enabled,
    // so that an unused clock wakes no thread.
    private readonly IInterrupt? _interrupt;
    private readonly ITimer? _timer;
    private DateTimeOffset _looked;
    private bool _lineUp;
    private bool _isDisposed;

    /// <summary>Makes a clock that shows the host's time in UTC.</summary>
    /// <param name="clock">Null for the host's clock.</param>
    /// <param name="memoryBytes">Guest memory below 4 GiB, which firmware looks for here; 0 if it need not.</param>
    /// <param name="interrupt">Its line to the guest; null: none.</param>
    public CmosDevice(TimeProvider? clock = null, ulong memoryBytes = 0, IInterrupt? interrupt = null)
    {
        _clock = clock ?? TimeProvider.System;
        _looked = _clock.GetUtcNow();
        _interrupt = interrupt;
        if (interrupt is not null)
            _timer = _clock.CreateTimer(static device => ((CmosDevice)device!)
                .OnTimer(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        _bytes[StatusA] = OscillatorOn32KHz;
        _bytes[StatusB] = Hours24;
        _bytes[StatusD] = RamValid;
        StoreMemorySize(memoryBytes);
    }

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data)
    {
        lock (_lock)
        {
            for (int i = 0; i < data.Length; i++) data[i] = (offset + (ulong)i) switch
            {
                0 => _index,
                1 => ReadByte(_index),
                _ => byte.MaxValue
            };
        }
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        lock (_lock)
        {
            for (int i = 0; i < data.Length; i++)
            {
                ulong port = offset + (ulong)i;
                if (port == 0) _index = (byte)(data[i] & IndexMask);
                else if (port == 1) WriteByte(_index, data[i]);
            }
        }
    }

    /// <summary>Stops the timer: the line is not touched any more.</summary>
    public void Dispose()
    {
        lock (_lock) _isDisposed = true;
        _timer?.Dispose();
    }

    /// <inheritdoc/>
    public override string ToString() => "CMOS";

    // In another process it shows the time of the host it is on, as far ahead of that as the guest had set it; an alarm that came meanwhile
    // comes now.
    void ISavedState.Save(StateWriter to)
    {
        lock (_lock)
        {
            to.Add("index", (ulong)_index);
            to.Add("bytes", _bytes);
            to.Add("ahead-ms", (long)_ahead.TotalMilliseconds);
            to.Add("looked-unix-ms", _looked.ToUnixTimeMilliseconds());
            to.Add("interrupting", _lineUp);
        }
    }

    void ISavedState.Restore(StateReader from)
    {
        lock (_lock)
        {
            _index = (byte)from.UInt64("index", IndexMask);
            byte[] bytes = from.Bytes("bytes", ByteCount);
            if (bytes.Length != ByteCount) throw from.Wrong("bytes", $"are {bytes.Length}, and a clock has {ByteCount}");
            bytes.CopyTo(_bytes, 0);
            _bytes[StatusA] &= unchecked((byte)~UpdateInProgress);
            _bytes[StatusD] = RamValid;
            // So that the guest's time, now, is one that the clock can be set to.
            long now = _clock.GetUtcNow().ToUnixTimeMilliseconds();
            _ahead = TimeSpan.FromMilliseconds(from.Int64("ahead-ms", UnixMillisecondsMin - now, UnixMillisecondsMax - now));
            _looked = DateTimeOffset.FromUnixTimeMilliseconds(from.Int64("looked-unix-ms", UnixMillisecondsMin, UnixMillisecondsMax));
            SetLine(from.Boolean("interrupting"));
            Arm();
        }
    }

    private bool IsSetting => (_bytes[StatusB] & SetClock) != 0;

    private static bool IsTime(int index) => index is Seconds or Minutes or Hours or >= DayOfWeek and <= Year or Century;

    private byte ReadByte(int index)
    {
        if (index == StatusC) return TakeFlags();
        if (IsTime(index) && !IsSetting) ShowTime();
        return _bytes[index];
    }

    private void WriteByte(int index, byte value)
    {
        switch (index)
        {
            case StatusA:
                _bytes[index] = (byte)(value & ~UpdateInProgress);
                return;
            case StatusB:
                bool wasSetting = IsSetting;
                // What is set byte by byte starts from what the clock shows.
                if (!wasSetting) ShowTime();
                // What happened before an interrupt was enabled does not interrupt.
                if ((value & ~_bytes[index] & (AlarmFlag | UpdateFlag)) != 0 && Enabled == 0) _looked = Now;
                _bytes[index] = value;
                if (wasSetting && !IsSetting) TakeTime();
                Arm();
                return;
            case StatusC or StatusD:
                return;
        }
        if (!IsTime(index) || IsSetting)
        {
            // An alarm that is set now is not one that was missed.
            if (index is SecondsAlarm or MinutesAlarm or HoursAlarm) _looked = Now;
            _bytes[index] = value;
            Arm();
            return;
        }
        ShowTime();
        _bytes[index] = value;
        TakeTime();
    }

    private void ShowTime()
    {
        DateTime now = Now.UtcDateTime;
        _bytes[Seconds] = Encode(now.Second);
        _bytes[Minutes] = Encode(now.Minute);
        _bytes[Hours] = EncodeHour(now.Hour);
        _bytes[DayOfWeek] = Encode((int)now.DayOfWeek + 1);
        _bytes[DayOfMonth] = Encode(now.Day);
        _bytes[Month] = Encode(now.Month);
        _bytes[Year] = Encode(now.Year % 100);
        _bytes[Century] = Encode(now.Year / 100);
    }

    /// <summary>The guest set the clock; a date that does not exist changes nothing.</summary>
    private void TakeTime()
    {
        int year = Decode(_bytes[Century]) * 100 + Decode(_bytes[Year]);
        int month = Decode(_bytes[Month]);
        int day = Decode(_bytes[DayOfMonth]);
        int hour = DecodeHour(_bytes[Hours]);
        int minute = Decode(_bytes[Minutes]);
        int second = Decode(_bytes[Seconds]);
        if (year is < 1 or > YearMax || month is < 1 or > 12 || day < 1 || day > DateTime.DaysInMonth(year, month)
            || hour > 23 || minute > 59 || second > 59) return;
        _ahead = new DateTimeOffset(year, month, day, hour, minute, second, TimeSpan.Zero) - _clock.GetUtcNow();
        _looked = Now;
        Arm();
    }

    private byte Encode(int value) => (byte)((_bytes[StatusB] & BinaryFormat) != 0 ? value : value / 10 * 16 + value % 10);

    private int Decode(int value) => (_bytes[StatusB] & BinaryFormat) != 0 ? value : (value >> 4) * 10 + (value & 0xf);

    private byte EncodeHour(int hour)
    {
        if ((_bytes[StatusB] & Hours24) != 0) return Encode(hour);
        return (byte)(Encode((hour + 11) % 12 + 1) | (hour >= 12 ? AfternoonBit : 0));
    }

    private int DecodeHour(byte value)
    {
        if ((_bytes[StatusB] & Hours24) != 0) return Decode(value);
        return Decode(value & ~AfternoonBit) % 12 + ((value & AfternoonBit) != 0 ? 12 : 0);
    }

    /// <summary>What firmware reads: kilobytes below 1 MiB and above it, and 64 KiB units above 16 MiB.</summary>
    private void StoreMemorySize(ulong memoryBytes)
    {
        const ulong KiB = 1 << 10, MiB = 1 << 20;
        Store16(0x15, Math.Min(memoryBytes / KiB, 640));
        ulong above1M = memoryBytes > MiB ? Math.Min((memoryBytes - MiB) / KiB, ushort.MaxValue) : 0;
        Store16(0x17, above1M);
        Store16(0x30, above1M);
        Store16(0x34, memoryBytes > 16 * MiB ? Math.Min((memoryBytes - 16 * MiB) / (64 * KiB), ushort.MaxValue) : 0);
    }

    private void Store16(int index, ulong value)
    {
        _bytes[index] = (byte)value;
        _bytes[index + 1] = (byte)(value >> 8);
    }

    private DateTimeOffset Now => _clock.GetUtcNow() + _ahead;

    private byte Enabled => (byte)(_bytes[StatusB] & (AlarmFlag | UpdateFlag));

    /// <summary>Register C: what happened since it was read last, which takes the interrupt back.</summary>
    private byte TakeFlags()
    {
        DateTimeOffset now = Now;
        byte flags = FlagsUntil(now);
        _looked = now;
        SetLine(false);
        Arm();
        return (flags & Enabled) != 0 ? (byte)(flags | AnyInterrupt) : flags;
    }

    private byte FlagsUntil(DateTimeOffset now)
    {
        if (IsSetting) return 0;
        return (byte)((NextUpdate(_looked) <= now ? UpdateFlag : 0) | (NextAlarm(_looked) <= now ? AlarmFlag : 0));
    }

    /// <summary>
    /// Sets the timer to the next event that is to interrupt, if there is one. The clock, an alarm or what is enabled has changed.
    /// </summary>
    private void Arm()
    {
        if (_timer is null || _isDisposed) return;
        DateTimeOffset next = DateTimeOffset.MaxValue;
        if (!IsSetting && (Enabled & UpdateFlag) != 0) next = NextUpdate(_looked);
        if (!IsSetting && (Enabled & AlarmFlag) != 0 && NextAlarm(_looked) is var alarm && alarm < next) next = alarm;
        // Once the line is up there is nothing more to report until register C is read.
        bool waits = !_lineUp && next < DateTimeOffset.MaxValue;
        TimeSpan due = next - Now;
        _timer.Change(!waits ? Timeout.InfiniteTimeSpan : due > TimeSpan.Zero ? due : TimeSpan.Zero, Timeout.InfiniteTimeSpan);
    }

    private void OnTimer()
    {
        lock (_lock)
        {
            if (_isDisposed) return;
            // A timer may come a little early.
            if ((FlagsUntil(Now) & Enabled) != 0) SetLine(true);
            Arm();
        }
    }

    private void SetLine(bool up)
    {
        if (up == _lineUp) return;
        _lineUp = up;
        if (up) _interrupt?.Assert(); else _interrupt?.Deassert();
    }

    private static DateTimeOffset NextUpdate(DateTimeOffset after) =>
        after.AddTicks(TimeSpan.TicksPerSecond - after.Ticks % TimeSpan.TicksPerSecond);

    /// <summary>The next time the three alarm bytes match; the end of time if they never do.</summary>
    private DateTimeOffset NextAlarm(DateTimeOffset after)
    {
        DateTimeOffset candidate = NextUpdate(after);
        DateTimeOffset end = candidate.AddDays(1);
        // A step to the next hour, minute or second at a time: at most 24 + 60 + 60 of them to a match.
        while (candidate <= end)
        {
            if (!Matches(_bytes[HoursAlarm], EncodeHour(candidate.Hour)))
                candidate = candidate.AddSeconds(3600 - candidate.Minute * 60 - candidate.Second);
            else if (!Matches(_bytes[MinutesAlarm], Encode(candidate.Minute))) candidate = candidate.AddSeconds(60 - candidate.Second);
            else if (!Matches(_bytes[SecondsAlarm], Encode(candidate.Second))) candidate = candidate.AddSeconds(1);
            else return candidate;
        }
        return DateTimeOffset.MaxValue;
    }

    private static bool Matches(byte alarm, byte shown) => (alarm & AlarmDoesNotCare) == AlarmDoesNotCare || alarm == shown;
}
