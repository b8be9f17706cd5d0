using System.Buffers.Binary;

namespace Vmm.Devices;

/// <summary>
/// An ARM real-time clock (PrimeCell PL031, technical reference manual DDI 0224): a counter of seconds that starts at the host's time, may be
/// set, and interrupts when it reaches a match value.
/// </summary>
public sealed class Pl031Device : IBusDevice, IDisposable
{
    /// <summary>Bytes of its range on the bus.</summary>
    public const ulong RangeLength = 0x1000;

    private const ulong DataRegister = 0x00;
    private const ulong MatchRegister = 0x04;
    private const ulong LoadRegister = 0x08;
    private const ulong ControlRegister = 0x0c;
    private const ulong InterruptMask = 0x10;
    private const ulong RawInterruptStatus = 0x14;
    private const ulong MaskedInterruptStatus = 0x18;
    private const ulong InterruptClear = 0x1c;
    private const ulong Identification = 0xfe0;

    private const uint Started = 1;

    private readonly Lock _lock = new();
    private readonly IInterrupt _interrupt;
    private readonly TimeProvider _clock;
    private readonly ITimer _timer;
    private long _ahead;
    private uint _match;
    private uint _load;
    private bool _unmasked;
    private bool _raised;
    private bool _lineUp;
    private bool _armed;

    /// <summary>Makes a clock that shows the host's time in UTC.</summary>
    /// <param name="interrupt">Its line to the guest.</param>
    /// <param name="clock">Null for the host's clock.</param>
    public Pl031Device(IInterrupt interrupt, TimeProvider? clock = null)
    {
        ArgumentNullException.ThrowIfNull(interrupt);
        _interrupt = interrupt;
        _clock = clock ?? TimeProvider.System;
        _timer = _clock.CreateTimer(static device => ((Pl031Device)device!).OnTimer(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    // PrimeCell and part numbers, a byte in each of the last eight words of the page.
    private static ReadOnlySpan<byte> IdentificationBytes => [0x31, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1];

    private uint Now => (uint)(_clock.GetUtcNow().ToUnixTimeSeconds() + _ahead);

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data)
    {
        data.Clear();
        if (data.Length < sizeof(uint) || offset % sizeof(uint) != 0) return;
        lock (_lock) BinaryPrimitives.WriteUInt32LittleEndian(data, ReadRegister(offset));
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        if (data.Length < sizeof(uint) || offset % sizeof(uint) != 0) return;
        lock (_lock) WriteRegister(offset, BinaryPrimitives.ReadUInt32LittleEndian(data));
    }

    /// <summary>Stops the match timer: the line is not touched by it any more.</summary>
    public void Dispose()
    {
        lock (_lock) _armed = false;
        _timer.Dispose();
    }

    /// <inheritdoc/>
    public override string ToString() => "PL031";

    private uint ReadRegister(ulong offset) => offset switch
    {
        DataRegister => Now,
        MatchRegister => _match,
        LoadRegister => _load,
        ControlRegister => Started,
        InterruptMask => _unmasked ? 1u : 0,
        RawInterruptStatus => _raised ? 1u : 0,
        MaskedInterruptStatus => _raised && _unmasked ? 1u : 0,
        >= Identification => IdentificationBytes[(int)(offset - Identification) / sizeof(uint)],
        _ => 0,
    };

    private void WriteRegister(ulong offset, uint value)
    {
        switch (offset)
        {
            case MatchRegister:
                _match = value;
                _armed = true;
                Arm();
                break;
            case LoadRegister:
                _load = value;
                _ahead += (int)(value - Now);
                Arm();
                break;
            case InterruptMask:
                _unmasked = (value & 1) != 0;
                break;
            case InterruptClear when (value & 1) != 0:
                _raised = false;
                break;
            // A start that was made can't be taken back, and there is nothing else to control.
            default:
                break;
        }
        UpdateLine();
    }

    /// <summary>Sets the timer to the next time the counter is at the match value; it wraps after 136 years.</summary>
    private void Arm()
    {
        if (!_armed) return;
        uint seconds = _match - Now;
        TimeSpan intoSecond = TimeSpan.FromTicks(_clock.GetUtcNow().Ticks % TimeSpan.TicksPerSecond);
        TimeSpan due = seconds == 0 ? TimeSpan.Zero : TimeSpan.FromSeconds(seconds) - intoSecond;
        // A timer waits no longer than 49 days: it asks again then.
        _timer.Change(due < TimerMax ? due : TimerMax, Timeout.InfiniteTimeSpan);
    }

    private static TimeSpan TimerMax => TimeSpan.FromDays(49);

    private void OnTimer()
    {
        lock (_lock)
        {
            if (!_armed) return;
            if (Now != _match && _match - Now < uint.MaxValue / 2)
            {
                Arm();
                return;
            }
            _armed = false;
            _raised = true;
            UpdateLine();
        }
    }

    private void UpdateLine()
    {
        bool up = _raised && _unmasked;
        if (up == _lineUp) return;
        _lineUp = up;
        if (up) _interrupt.Assert(); else _interrupt.Deassert();
    }
}
