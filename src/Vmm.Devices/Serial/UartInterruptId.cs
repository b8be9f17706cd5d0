namespace Vmm.Devices;

/// <summary>Values of the interrupt identification register, by falling priority, and its FIFO bits.</summary>
internal static class UartInterruptId
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
