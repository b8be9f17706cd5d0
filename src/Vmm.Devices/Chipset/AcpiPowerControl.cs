namespace Vmm.Devices;

/// <summary>
/// Power-off and reset of a hardware-reduced ACPI machine: the sleep control, sleep status and reset registers (ACPI § 4.8.3.7, § 4.8.3.6),
/// a byte each.
/// </summary>
/// <param name="onPowerOff">The guest powers off. On the vCPU's thread; it must not wait for that vCPU.</param>
/// <param name="onReset">The guest resets. As above.</param>
public sealed class AcpiPowerControl(Action onPowerOff, Action onReset) : IBusDevice
{
    /// <summary>Bytes of its range on the bus.</summary>
    public const ulong RangeLength = 3;

    /// <summary>Where the sleep control register is in the range.</summary>
    public const int SleepControlOffset = 0;

    /// <summary>Where the sleep status register is in the range; always 0: the machine has not slept.</summary>
    public const int SleepStatusOffset = 1;

    /// <summary>Where the reset register is in the range.</summary>
    public const int ResetOffset = 2;

    /// <summary>What must be written to the reset register.</summary>
    public const byte ResetValue = 0x52;

    /// <summary>The sleep type that means power-off (what the guest finds in <c>_S5</c>).</summary>
    public const byte SleepTypeOff = 5;

    private const byte SleepEnable = 1 << 5;
    private const int SleepTypeShift = 2;
    private const byte SleepTypeMask = 7;

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data) => data.Clear();

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        if (data.Length != 1) return;
        if (offset == ResetOffset && data[0] == ResetValue) onReset();
        else if (offset == SleepControlOffset && (data[0] & SleepEnable) != 0
            && ((data[0] >> SleepTypeShift) & SleepTypeMask) == SleepTypeOff) onPowerOff();
    }

    /// <inheritdoc/>
    public override string ToString() => "ACPI power control";
}
