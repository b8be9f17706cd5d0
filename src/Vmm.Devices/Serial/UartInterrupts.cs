namespace Vmm.Devices;

/// <summary>Bits of the interrupt enable register.</summary>
[Flags]
internal enum UartInterrupts : byte
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
