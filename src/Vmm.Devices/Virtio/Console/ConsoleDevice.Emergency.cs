namespace Vmm.Devices;

// Emergency writes (virtio 1.2 § 5.3.4): characters a driver prints through the configuration space, before its queues run or when they
// can't any more.
public sealed partial class ConsoleDevice
{
    /// <summary>Most characters that wait for the reactor; those of a driver that is faster are lost.</summary>
    private const int EmergencyBytesMax = 4096;

    private readonly Lock _emergencyLock = new();
    private readonly CircularBytes _emergency = new(EmergencyBytesMax);

    /// <inheritdoc/>
    protected override void OnConfigWritten(int offset, int length)
    {
        Span<byte> bytes = stackalloc byte[EmergencyBytesMax];
        lock (_emergencyLock)
        {
            bytes = bytes[.._emergency.Peek(bytes)];
            _emergency.Skip(bytes.Length);
        }
        // Ahead of what waits in the transmit queue, and without waiting for room.
        if (bytes.Length > 0) _channels[0].Port.WriteNow(bytes);
    }

    /// <summary>A character was written. On a vCPU's thread.</summary>
    private void TakeEmergency(byte value)
    {
        lock (_emergencyLock) _emergency.Write([value]);
    }
}
