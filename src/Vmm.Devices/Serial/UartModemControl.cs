namespace Vmm.Devices;

/// <summary>Bits of the modem control register.</summary>
[Flags]
internal enum UartModemControl : byte
{
    /// <summary>None.</summary>
    None = 0,
    /// <summary>Data terminal ready.</summary>
    DataTerminalReady = 0x01,
    /// <summary>Request to send.</summary>
    RequestToSend = 0x02,
    /// <summary>First free output.</summary>
    Out1 = 0x04,
    /// <summary>Second free output; on a PC it connects the interrupt controller.</summary>
    Out2 = 0x08,
    /// <summary>Connects the transmitter to the receiver, and these outputs to the modem status.</summary>
    Loopback = 0x10,
    /// <summary>The bits that exist.</summary>
    All = 0x1f,
}
