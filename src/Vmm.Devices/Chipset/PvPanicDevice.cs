namespace Vmm.Devices;

/// <summary>One byte by which a guest reports that it panicked (QEMU, docs/specs/pvpanic). A PC has it at port 0x505.</summary>
/// <param name="onEvent">Called with the event on the vCPU's thread. It must not wait for that vCPU.</param>
/// <param name="supported">The events the guest may report; others are ignored.</param>
internal sealed class PvPanicDevice(Action<PanicEvents> onEvent, PanicEvents supported = PanicEvents.Panicked | PanicEvents.CrashLoaded)
    : IBusDevice
{
    /// <summary>Bytes of its range on the bus.</summary>
    public const ulong RangeLength = 1;

    public void Read(ulong offset, Span<byte> data)
    {
        data.Clear();
        data[0] = (byte)supported;
    }

    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        PanicEvents events = (PanicEvents)data[0] & supported;
        if (events != PanicEvents.None) onEvent(events);
    }

    public override string ToString() => "pvpanic";
}
