namespace Vmm.Devices;

/// <summary>
/// A 16550A serial port (National Semiconductor PC16550D data sheet) with no wire: a byte is transmitted as soon as the host side has room
/// for it, and an idle line is seen at once. The registers are reached on vCPU threads, the host side on a reactor; one small lock is
/// between them.
/// </summary>
/// <remarks>
/// The interrupt line follows the chip's INTR pin; OUT2, which gates it on a PC board but not elsewhere, does not. An access of several
/// bytes is one access to each byte's register, in rising order, as on a bus of 8 bits.
/// </remarks>
public sealed class Uart16550 : IBusDevice, ISavedState
{
    /// <summary>Registers of the chip.</summary>
    public const int RegisterCount = 8;

    /// <summary>Bytes in each of the chip's FIFOs.</summary>
    public const int FifoSize = 16;

    /// <summary>Most bytes of the guest that wait for the host; beyond that the transmitter has no room.</summary>
    public const int OutputBacklogMax = 16 * 1024;

    /// <summary>Most bytes of the host that wait for the guest; beyond that the host is not read.</summary>
    public const int InputBacklogMax = 4 * 1024;

    private readonly Lock _lock = new();
    private readonly int _stride;
    private readonly UartWire _wire = new();
    private readonly UartChip _chip;
    private Action? _onOutput;
    private Action? _onInputRoom;

    /// <summary>Makes a port as it is after power-on.</summary>
    /// <param name="interrupt">Its line to the guest, edge- or level-triggered.</param>
    /// <param name="name">For messages and measurements.</param>
    /// <param name="registerStride">Bytes from one register to the next: 1 for ports, often 4 for memory-mapped ones.</param>
    public Uart16550(IInterrupt interrupt, string name = "ttyS0", int registerStride = 1)
    {
        ArgumentNullException.ThrowIfNull(interrupt);
        ArgumentException.ThrowIfNullOrEmpty(name);
        ArgumentOutOfRangeException.ThrowIfLessThan(registerStride, 1);
        _stride = registerStride;
        _chip = new UartChip(interrupt, _wire);
        Name = name;
    }

    /// <summary>For messages and measurements.</summary>
    public string Name { get; }

    /// <summary>Bytes of its range on the bus.</summary>
    public ulong RangeLength => (ulong)(RegisterCount * _stride);

    /// <summary>Bytes the guest wrote although there was no room. Any thread.</summary>
    public long LostBytes
    {
        get { lock (_lock) return _chip.LostBytes; }
    }

    /// <summary>Bytes that wait for <see cref="PeekOutput"/>, those in the chip included. Any thread.</summary>
    public int OutputBacklog
    {
        get { lock (_lock) return _wire.OutputCount + _chip.OutputCount; }
    }

    /// <summary>Bytes of the host there is room for.</summary>
    public int InputRoom
    {
        get { lock (_lock) return _wire.InputRoom; }
    }

    /// <inheritdoc/>
    public override string ToString() => Name;

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data)
    {
        UartHostNeeds needs;
        lock (_lock)
        {
            for (int i = 0; i < data.Length; i++)
                data[i] = RegisterAt(offset + (ulong)i, out int register) ? _chip.Read(register) : byte.MinValue;
            needs = _wire.TakeHostNeeds();
        }
        Notify(needs);
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        UartHostNeeds needs;
        lock (_lock)
        {
            for (int i = 0; i < data.Length; i++)
            {
                if (RegisterAt(offset + (ulong)i, out int register)) _chip.Write(register, data[i]);
            }
            needs = _wire.TakeHostNeeds();
        }
        Notify(needs);
    }

    /// <summary>Copies the oldest bytes the guest transmitted; they stay until <see cref="SkipOutput"/>. One taker at a time.</summary>
    /// <returns>How many; 0 if there are none: then the taker is called when there are.</returns>
    public int PeekOutput(Span<byte> bytes)
    {
        lock (_lock) return _wire.PeekOutput(bytes);
    }

    /// <summary>The host has the oldest bytes: room for the transmitter.</summary>
    public void SkipOutput(int length)
    {
        lock (_lock)
        {
            _wire.SkipOutput(length);
            _chip.Drain();
        }
    }

    /// <summary>Hands over bytes for the guest, as many as there is room for.</summary>
    /// <param name="bytes">What came in.</param>
    /// <param name="taken">How many of them were taken.</param>
    /// <returns>False if there is no room for more: do not read the host until the next call.</returns>
    public bool TryGiveInput(ReadOnlySpan<byte> bytes, out int taken)
    {
        lock (_lock)
        {
            taken = _wire.Give(bytes);
            _chip.Look();
            return !_wire.HoldIfFull();
        }
    }

    /// <summary>The host side hung up: when the guest has read what waits, the carrier goes.</summary>
    public void EndInput()
    {
        lock (_lock)
        {
            _wire.Hangup();
            _chip.Look();
        }
    }

    /// <summary>The host side sends a break: a byte of 0 with the break bit, behind what waits in the FIFO.</summary>
    public void SendBreak()
    {
        lock (_lock) _chip.Break();
    }

    /// <summary>
    /// Sets what is called, on a vCPU's thread, when output waits or there is room for input again. Once, before the guest runs.
    /// </summary>
    internal void Connect(Action onOutput, Action onInputRoom)
    {
        _onOutput = onOutput;
        _onInputRoom = onInputRoom;
    }

    /// <summary>Makes the chip what it is at power-on. What waits for the host, or comes from it, stays.</summary>
    internal void Reset()
    {
        lock (_lock) _chip.Reset();
    }

    /// <inheritdoc/>
    void ISavedState.Save(StateWriter to)
    {
        lock (_lock)
        {
            _chip.Save(to);
            _wire.Save(to);
        }
    }

    /// <inheritdoc/>
    void ISavedState.Restore(StateReader from)
    {
        UartHostNeeds needs;
        lock (_lock)
        {
            _chip.Restore(from);
            _wire.Restore(from);
            _chip.GoOn();
            needs = _wire.TakeHostNeeds();
        }
        Notify(needs);
    }

    /// <summary>The register a byte of the range belongs to; the bytes between two registers read as 0 and take nothing.</summary>
    private bool RegisterAt(ulong offset, out int register)
    {
        (ulong quotient, ulong remainder) = Math.DivRem(offset, (ulong)_stride);
        register = (int)Math.Min(quotient, RegisterCount);
        return remainder == 0 && register < RegisterCount;
    }

    /// <summary>Calls the host side, outside of the lock.</summary>
    private void Notify(UartHostNeeds needs)
    {
        if ((needs & UartHostNeeds.OutputIsWaiting) != 0) _onOutput?.Invoke();
        if ((needs & UartHostNeeds.InputHasRoom) != 0) _onInputRoom?.Invoke();
    }
}
