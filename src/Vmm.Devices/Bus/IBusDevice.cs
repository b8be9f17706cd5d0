namespace Vmm.Devices;

/// <summary>
/// Something a vCPU reaches by address, memory-mapped or by port. Called on vCPU threads, several at once: it takes its own small lock,
/// never blocks and never throws; what touches rings or device state it hands to the device's reactor. Any offset × width has a defined
/// answer.
/// </summary>
public interface IBusDevice
{
    /// <summary>Answers a read.</summary>
    /// <param name="offset">From the start of the range the device is mapped at.</param>
    /// <param name="data">1 to 8 bytes to fill, little-endian.</param>
    void Read(ulong offset, Span<byte> data);

    /// <summary>Takes a write.</summary>
    /// <param name="offset">From the start of the range the device is mapped at.</param>
    /// <param name="data">1 to 8 bytes, little-endian.</param>
    void Write(ulong offset, ReadOnlySpan<byte> data);
}

/// <summary>An interrupt line to the guest. Thread-safe.</summary>
public interface IInterrupt
{
    /// <summary>
    /// Raises the line. On an edge-triggered line each call is an interrupt; on a level-triggered one the line stays up until
    /// <see cref="Deassert"/>.
    /// </summary>
    void Assert();

    /// <summary>Lowers a level-triggered line; nothing on an edge-triggered one.</summary>
    void Deassert();
}
