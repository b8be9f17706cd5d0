namespace Vmm.Devices;

/// <summary>
/// A place where a PC may have a device, that every kernel looks at, and where this machine has none: reads give ones, writes are dropped,
/// and neither is an access that went astray.
/// </summary>
internal sealed class AbsentDevice(string name) : IBusDevice
{
    public void Read(ulong offset, Span<byte> data) => data.Fill(0xff);

    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
    }

    public override string ToString() => $"no {name}";
}
