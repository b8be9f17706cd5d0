namespace Vmm.Devices;

// Alarm and update-ended interrupts (MC146818, registers A to C). What happened since register C was read last is worked out when the guest
// reads it; a timer runs only while an interrupt is enabled, so that an unused clock wakes no thread.
public sealed partial class CmosDevice
{
    private const int SecondsAlarm = 0x01;
    private const int MinutesAlarm = 0x03;
    private const int HoursAlarm = 0x05;

    private const byte AlarmFlag = 0x20;
    private const byte UpdateFlag = 0x10;
    private const byte AnyInterrupt = 0x80;
    /// <summary>An alarm byte with both of these set matches every value.</summary>
    private const byte AlarmDoesNotCare = 0xc0;

    private readonly IInterrupt? _interrupt;
    private readonly ITimer? _timer;
    private DateTimeOffset _looked;
    private bool _lineUp;
    private bool _isDisposed;

    /// <summary>Stops the timer: the line is not touched any more.</summary>
    public void Dispose()
    {
        lock (_lock) _isDisposed = true;
        _timer?.Dispose();
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
