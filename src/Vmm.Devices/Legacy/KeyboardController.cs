namespace Vmm.Devices;

/// <summary>
/// Of the i8042 keyboard controller only what a machine without keyboard needs: the command that pulses the processor's reset line, and a status that says
/// that nothing is to be read and everything may be written.
/// </summary>
/// <param name="onReset">The guest resets. On the vCPU's thread; it must not wait for that vCPU.</param>
public sealed class KeyboardController(Action onReset) : IBusDevice
{
    /// <summary>Bytes of its range on the bus: data at 0, status and command at 4.</summary>
    public const ulong RangeLength = 5;

    private const ulong CommandOffset = 4;
    private const byte PulseReset = 0xfe;

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data) => data.Clear();

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        if (offset == CommandOffset && data.Length == 1 && data[0] == PulseReset) onReset();
    }

    /// <inheritdoc/>
    public override string ToString() => "i8042";
}
