namespace Vmm.Devices;

/// <summary>Bits of the FIFO control register; the two highest hold the trigger level's number.</summary>
[Flags]
internal enum UartFifoControl : byte
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
