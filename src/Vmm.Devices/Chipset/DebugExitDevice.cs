using System.Buffers.Binary;

namespace Vmm.Devices;

/// <summary>A port that ends the machine: whatever the guest writes there is its status. Reads give 0.</summary>
/// <param name="onExit">Called with the status on the vCPU's thread, each time. It must not wait for that vCPU.</param>
internal sealed class DebugExitDevice(Action<uint> onExit) : IBusDevice
{
    /// <summary>Bytes of its range on the bus.</summary>
    public const ulong RangeLength = 4;

    public void Read(ulong offset, Span<byte> data) => data.Clear();

    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        Span<byte> status = stackalloc byte[sizeof(uint)];
        status.Clear();
        data[..Math.Min(data.Length, status.Length)].CopyTo(status);
        onExit(BinaryPrimitives.ReadUInt32LittleEndian(status));
    }

    public override string ToString() => "debug exit";
}
