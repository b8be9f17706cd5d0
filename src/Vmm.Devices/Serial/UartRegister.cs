namespace Vmm.Devices;

/// <summary>Register numbers of a 16550A (National Semiconductor PC16550D data sheet, table II).</summary>
internal static class UartRegister
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
