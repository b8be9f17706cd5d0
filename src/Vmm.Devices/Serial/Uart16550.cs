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
public sealed partial class Uart16550 : IBusDevice
{
    /// <summary>Registers of the chip.</summary>
    public const int RegisterCount = 8;

    /// <summary>Bytes in each of the chip's FIFOs.</summary>
    public const int FifoSize = 16;

    private const ushort DivisorOf9600Baud = 12;

    private readonly Lock _lock = new();
    private readonly IInterrupt _interrupt;
    private readonly int _stride;
    private readonly Queue<Received> _receive = new(FifoSize);
    private readonly CircularBytes _transmit = new(FifoSize);
    private UartInterrupts _enabled;
    private UartLineControl _lineControl;
    private UartModemControl _modemControl;
    private UartModemStatus _modemStatus;
    private byte _scratch;
    private ushort _divisor = DivisorOf9600Baud;
    private int _trigger = 1;
    private bool _fifosOn;
    private bool _overrun;
    private bool _transmitterEmptyPending;
    private bool _lineUp;

    /// <summary>Makes a port as it is after power-on.</summary>
    /// <param name="interrupt">Its line to the guest, edge- or level-triggered.</param>
    /// <param name="name">For messages and measurements.</param>
    /// <param name="registerStride">Bytes from one register to the next: 1 for ports, often 4 for memory-mapped ones.</param>
    public Uart16550(IInterrupt interrupt, string name = "ttyS0", int registerStride = 1)
    {
        ArgumentNullException.ThrowIfNull(interrupt);
        ArgumentException.ThrowIfNullOrEmpty(name);
        ArgumentOutOfRangeException.ThrowIfLessThan(registerStride, 1);
        _interrupt = interrupt;
        _stride = registerStride;
        _modemStatus = ConnectedLines;
        Name = name;
    }

    /// <summary>For messages and measurements.</summary>
    public string Name { get; }

    /// <summary>Bytes of its range on the bus.</summary>
    public ulong RangeLength => (ulong)(RegisterCount * _stride);

    private int FifoDepth => _fifosOn ? FifoSize : 1;

    private bool IsLoopback => (_modemControl & UartModemControl.Loopback) != 0;

    private bool DivisorLatchOpen => (_lineControl & UartLineControl.DivisorAccess) != 0;

    /// <inheritdoc/>
    public override string ToString() => Name;

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data)
    {
        HostNeeds needs;
        lock (_lock)
        {
            for (int i = 0; i < data.Length; i++)
                data[i] = RegisterAt(offset + (ulong)i, out int register) ? ReadRegister(register) : byte.MinValue;
            needs = TakeHostNeeds();
        }
        Notify(needs);
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        HostNeeds needs;
        lock (_lock)
        {
            for (int i = 0; i < data.Length; i++)
            {
                if (RegisterAt(offset + (ulong)i, out int register)) WriteRegister(register, data[i]);
            }
            needs = TakeHostNeeds();
        }
        Notify(needs);
    }

    /// <summary>Makes the chip what it is at power-on. What waits for the host, or comes from it, stays.</summary>
    internal void Reset()
    {
        lock (_lock)
        {
            _enabled = default;
            _lineControl = default;
            _modemControl = default;
            _modemStatus = ModemLines();
            _scratch = 0;
            _divisor = DivisorOf9600Baud;
            _trigger = 1;
            _fifosOn = _overrun = _transmitterEmptyPending = false;
            _receive.Clear();
            UpdateInterrupt();
        }
    }

    /// <summary>The register a byte of the range belongs to; the bytes between two registers read as 0 and take nothing.</summary>
    private bool RegisterAt(ulong offset, out int register)
    {
        (ulong quotient, ulong remainder) = Math.DivRem(offset, (ulong)_stride);
        register = (int)Math.Min(quotient, RegisterCount);
        return remainder == 0 && register < RegisterCount;
    }

    /// <summary>A byte of the receive FIFO with the errors it came with.</summary>
    private readonly record struct Received(byte Value, UartLineStatus Errors);
}
