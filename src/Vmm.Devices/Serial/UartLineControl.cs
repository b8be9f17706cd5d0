namespace Vmm.Devices;

/// <summary>Bits of the line control register that mean something to a chip without a wire.</summary>
[Flags]
internal enum UartLineControl : byte
{
    /// <summary>None.</summary>
    None = 0,
    /// <summary>Holds the line in a break.</summary>
    SetBreak = 0x40,
    /// <summary>Opens the divisor latch.</summary>
    DivisorAccess = 0x80,
}
