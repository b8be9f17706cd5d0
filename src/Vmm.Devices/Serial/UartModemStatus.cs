namespace Vmm.Devices;

/// <summary>Bits of the modem status register: four lines, and which of them changed since it was read.</summary>
[Flags]
internal enum UartModemStatus : byte
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
