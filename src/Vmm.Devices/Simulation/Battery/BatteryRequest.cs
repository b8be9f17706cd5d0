namespace Vmm.Devices.Simulation;

/// <summary>A request a device must answer, as <see cref="DeviceBattery"/> makes it again and again in other shapes.</summary>
/// <param name="Queue">The queue it goes to.</param>
/// <param name="Readable">What the device reads, before it is cut into buffers.</param>
/// <param name="Writable">Bytes the device may write, before they are cut into buffers.</param>
public sealed record BatteryRequest(int Queue, byte[] Readable, int Writable)
{
    /// <summary>
    /// Says what is wrong with an answer: gets all writable bytes and the used length, gives null if they are right.
    /// </summary>
    public Func<byte[], uint, string?> Complaint { get; init; } = (_, _) => null;

    /// <summary>What has to happen on the host for the device to answer, such as input for a receive queue. Null: nothing.</summary>
    public Action<VirtioDevice>? Provoke { get; init; }

    /// <summary>
    /// Whether the device may answer only in part, or in several requests, however its buffers are cut: then cuts are not compared.
    /// </summary>
    public bool IsStream { get; init; }
}

/// <summary>A device did not pass its battery. The message says which check, and what it did.</summary>
public sealed class BatteryFailedException(string message) : Exception(message);
