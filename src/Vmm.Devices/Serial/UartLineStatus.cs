namespace Vmm.Devices;

/// <summary>Bits of the line status register.</summary>
[Flags]
internal enum UartLineStatus : byte
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
