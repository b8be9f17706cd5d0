namespace Vmm.Devices;

/// <summary>Register numbers of a 16550A (National Semiconductor PC16550D data sheet, table II).</summary>
public static class UartRegister
{
    /// <summary>Read: receiver buffer. Write: transmitter holding. With the divisor latch open: its low byte.</summary>
    public const int Data = 0;
    /// <summary>Interrupt enable. With the divisor latch open: its high byte.</summary>
    public const int InterruptEnable = 1;
    /// <summary>Read: which interrupt is pending.</summary>
    public const int InterruptId = 2;
    /// <summary>Write: FIFO control.</summary>
    public const int FifoControl = 2;
    /// <summary>Line control.</summary>
    public const int LineControl = 3;
    /// <summary>Modem control.</summary>
    public const int ModemControl = 4;
    /// <summary>Line status.</summary>
    public const int LineStatus = 5;
    /// <summary>Modem status.</summary>
    public const int ModemStatus = 6;
    /// <summary>A byte for the guest to keep.</summary>
    public const int Scratch = 7;
}

/// <summary>Bits of the interrupt enable register.</summary>
[Flags]
public enum UartInterrupts : byte
{
    /// <summary>None.</summary>
    None = 0,
    /// <summary>Received data is available.</summary>
    ReceivedData = 0x01,
    /// <summary>The transmitter holding register is empty.</summary>
    TransmitterEmpty = 0x02,
    /// <summary>A line error or a break came in.</summary>
    LineStatus = 0x04,
    /// <summary>A modem line changed.</summary>
    ModemStatus = 0x08,
    /// <summary>The bits that exist.</summary>
    All = 0x0f,
}

/// <summary>Values of the interrupt identification register, by falling priority, and its FIFO bits.</summary>
public static class UartInterruptId
{
    /// <summary>A line error or a break; cleared by reading the line status.</summary>
    public const byte LineStatus = 0x06;
    /// <summary>Received data is at the trigger level; cleared by reading below it.</summary>
    public const byte ReceivedData = 0x04;
    /// <summary>Received data is below the trigger level and the line went idle; cleared by reading it.</summary>
    public const byte CharacterTimeout = 0x0c;
    /// <summary>The transmitter holding register is empty; cleared by reading this or by writing data.</summary>
    public const byte TransmitterEmpty = 0x02;
    /// <summary>A modem line changed; cleared by reading the modem status.</summary>
    public const byte ModemStatus = 0x00;
    /// <summary>Nothing is pending.</summary>
    public const byte None = 0x01;
    /// <summary>Set while the FIFOs are on.</summary>
    public const byte FifosEnabled = 0xc0;
}

/// <summary>Bits of the FIFO control register; the two highest hold the trigger level's number.</summary>
[Flags]
public enum UartFifoControl : byte
{
    /// <summary>None.</summary>
    None = 0,
    /// <summary>The FIFOs are on; no other bit is taken without it.</summary>
    Enable = 0x01,
    /// <summary>Empties the receive FIFO.</summary>
    ClearReceive = 0x02,
    /// <summary>Empties the transmit FIFO.</summary>
    ClearTransmit = 0x04,
}

/// <summary>Bits of the line control register that mean something to a chip without a wire.</summary>
[Flags]
public enum UartLineControl : byte
{
    /// <summary>None.</summary>
    None = 0,
    /// <summary>Holds the line in a break.</summary>
    SetBreak = 0x40,
    /// <summary>Opens the divisor latch.</summary>
    DivisorAccess = 0x80,
}

/// <summary>Bits of the modem control register.</summary>
[Flags]
public enum UartModemControl : byte
{
    /// <summary>None.</summary>
    None = 0,
    /// <summary>Data terminal ready.</summary>
    DataTerminalReady = 0x01,
    /// <summary>Request to send.</summary>
    RequestToSend = 0x02,
    /// <summary>First free output.</summary>
    Out1 = 0x04,
    /// <summary>Second free output; on a PC it opens the way to the interrupt controller.</summary>
    Out2 = 0x08,
    /// <summary>Connects the transmitter to the receiver, and these outputs to the modem status.</summary>
    Loopback = 0x10,
    /// <summary>The bits that exist.</summary>
    All = 0x1f,
}

/// <summary>Bits of the line status register.</summary>
[Flags]
public enum UartLineStatus : byte
{
    /// <summary>None.</summary>
    None = 0,
    /// <summary>There is a byte to read.</summary>
    DataReady = 0x01,
    /// <summary>A byte came in with no room for it.</summary>
    Overrun = 0x02,
    /// <summary>The next byte came with a wrong parity.</summary>
    Parity = 0x04,
    /// <summary>The next byte came without a stop bit.</summary>
    Framing = 0x08,
    /// <summary>The next byte stands for a break.</summary>
    Break = 0x10,
    /// <summary>There is room to transmit: a whole FIFO of it, or one byte with the FIFOs off.</summary>
    TransmitterHoldingEmpty = 0x20,
    /// <summary>Nothing is being transmitted.</summary>
    TransmitterEmpty = 0x40,
    /// <summary>Some byte in the receive FIFO came with an error.</summary>
    FifoError = 0x80,
    /// <summary>What the line status interrupt reports.</summary>
    Errors = Overrun | Parity | Framing | Break,
}

/// <summary>Bits of the modem status register: four lines, and which of them changed since it was read.</summary>
[Flags]
public enum UartModemStatus : byte
{
    /// <summary>None.</summary>
    None = 0,
    /// <summary>Clear to send changed.</summary>
    ClearToSendChanged = 0x01,
    /// <summary>Data set ready changed.</summary>
    DataSetReadyChanged = 0x02,
    /// <summary>Ring went off.</summary>
    RingEnded = 0x04,
    /// <summary>Carrier detect changed.</summary>
    CarrierChanged = 0x08,
    /// <summary>The far side takes data.</summary>
    ClearToSend = 0x10,
    /// <summary>The far side is there.</summary>
    DataSetReady = 0x20,
    /// <summary>The far side rings.</summary>
    Ring = 0x40,
    /// <summary>The far side is connected.</summary>
    Carrier = 0x80,
    /// <summary>All that changed.</summary>
    Changes = 0x0f,
    /// <summary>All lines.</summary>
    Lines = 0xf0,
}
