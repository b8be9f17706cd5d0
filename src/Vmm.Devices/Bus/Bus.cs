namespace Vmm.Devices;

// Contract: completed by its owner.
/// <summary>An address space of devices: one for memory-mapped ones, one for ports.</summary>
public sealed class Bus
{
    /// <summary>Maps a device at a range.</summary>
    public void Add(ulong start, ulong length, IBusDevice device) => throw new NotImplementedException();

    /// <summary>Reads; with no device there every bit is 1, counted.</summary>
    public void Read(ulong address, Span<byte> data) => throw new NotImplementedException();

    /// <summary>Writes; with no device there it is dropped, counted.</summary>
    public void Write(ulong address, ReadOnlySpan<byte> data) => throw new NotImplementedException();
}
