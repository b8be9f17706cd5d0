using Vmm.Events;

namespace Vmm.Devices;

/// <summary>What a virtio device did so far, over all its queues.</summary>
/// <param name="Name">The device's name.</param>
/// <param name="Kicks">Kicks that arrived.</param>
/// <param name="Requests">Chains given back.</param>
/// <param name="Bytes">Bytes read from and written to the buffers of those chains.</param>
/// <param name="Interrupts">Interrupts for used buffers.</param>
/// <param name="LatencyP50Us">Microseconds from taking a request to giving it back, that half of them took at most; 0 if not measured.</param>
/// <param name="LatencyP99Us">The same, that 99 of 100 took at most.</param>
/// <param name="GuestFaults">Times the driver did something forbidden.</param>
/// <param name="HostFaults">Times the host failed the device.</param>
public sealed record DeviceStatistics(
    string Name, long Kicks, long Requests, long Bytes, long Interrupts, double LatencyP50Us, double LatencyP99Us, long GuestFaults, long HostFaults)
{
    private const double NanosecondsPerMicrosecond = 1000;

    /// <summary>Of a device, so far. Any thread.</summary>
    public static DeviceStatistics Of(VirtioDevice device)
    {
        ArgumentNullException.ThrowIfNull(device);
        LatencyHistogram latency = new();
        foreach (QueueStatistics queue in device.QueueStatistics) latency.Merge(queue.Latency);
        return new DeviceStatistics(
            device.Name,
            device.QueueStatistics.Sum(queue => queue.Kicks),
            device.QueueStatistics.Sum(queue => queue.Requests),
            device.QueueStatistics.Sum(queue => queue.Bytes),
            device.QueueStatistics.Sum(queue => queue.Interrupts),
            latency.Percentile(50) / NanosecondsPerMicrosecond,
            latency.Percentile(99) / NanosecondsPerMicrosecond,
            device.GuestFaults,
            device.HostFaults);
    }
}

/// <summary>What a host's devices and reactors did so far.</summary>
/// <param name="Devices">In the order they were added.</param>
/// <param name="Reactors">One after the other.</param>
public sealed record DeviceHostStatistics(IReadOnlyList<DeviceStatistics> Devices, IReadOnlyList<ReactorStatistics> Reactors);
