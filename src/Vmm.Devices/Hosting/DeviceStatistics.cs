using Vmm.Events;

namespace Vmm.Devices;

/// <summary>What a virtio device did so far, over all its queues.</summary>
/// <param name="Name">The device's name.</param>
/// <param name="Kicks">Kicks that arrived.</param>
/// <param name="Requests">Chains given back.</param>
/// <param name="Bytes">Bytes read from and written to the buffers of those chains.</param>
/// <param name="Interrupts">Interrupts for used buffers.</param>
/// <param name="LatencyP50Us">Microseconds from taking a request to giving it back, that half of them took at most; 0 if not
/// measured.</param>
/// <param name="LatencyP99Us">The same, that 99 of 100 took at most.</param>
/// <param name="GuestFaults">Times the driver did something forbidden.</param>
/// <param name="HostFaults">Times the host failed the device.</param>
/// <param name="Throttled">How long its queues waited because of a <see cref="RateLimit"/>, together.</param>
/// <param name="Operations">Of a disk, each kind of operation for itself; of other devices null.</param>
/// <param name="Reconnects">Of a disk, times that its storage was reached again; null if it is not connected to.</param>
/// <param name="Queues">Each queue for itself, by number.</param>
public sealed record DeviceStatistics(
    string Name, long Kicks, long Requests, long Bytes, long Interrupts, double LatencyP50Us, double LatencyP99Us, long GuestFaults,
    long HostFaults, TimeSpan Throttled, IReadOnlyList<DiskFigures>? Operations, long? Reconnects,
    IReadOnlyList<QueueFigures> Queues)
{
    private const double NanosecondsPerMicrosecond = 1000;

    /// <summary>Of a device of a host, so far. Any thread.</summary>
    internal static DeviceStatistics Of(HostedDevice hosted)
    {
        VirtioDevice device = hosted.Device;
        LatencyHistogram latency = new();
        foreach (QueueStatistics queue in device.QueueStatistics) latency.Merge(queue.Latency);
        QueueFigures[] queues = [.. device.QueueStatistics.Select((queue, i) => new QueueFigures(
            device.Queues[i].Name, hosted.Reactors.Queues[i].Name, queue.Kicks, queue.Requests, queue.Bytes, queue.Interrupts))];
        return new DeviceStatistics(
            device.Name,
            queues.Sum(queue => queue.Kicks),
            queues.Sum(queue => queue.Requests),
            queues.Sum(queue => queue.Bytes),
            queues.Sum(queue => queue.Interrupts),
            latency.Percentile(50) / NanosecondsPerMicrosecond,
            latency.Percentile(99) / NanosecondsPerMicrosecond,
            device.GuestFaults,
            device.HostFaults,
            device.Totals.Throttled,
            (device as BlockDevice)?.Figures,
            (device as BlockDevice)?.Backend.Reconnects,
            queues);
    }
}

/// <summary>What one queue of a device did so far.</summary>
/// <param name="Name">The queue's name.</param>
/// <param name="Reactor">The name of the reactor that serves it.</param>
/// <param name="Kicks">Kicks that arrived.</param>
/// <param name="Requests">Chains given back.</param>
/// <param name="Bytes">Bytes read from and written to the buffers of those chains.</param>
/// <param name="Interrupts">Interrupts for used buffers.</param>
public sealed record QueueFigures(string Name, string Reactor, long Kicks, long Requests, long Bytes, long Interrupts);

/// <summary>What a host's devices and reactors did so far.</summary>
/// <param name="Devices">In the order they were added.</param>
/// <param name="Reactors">By number.</param>
public sealed record DeviceHostStatistics(IReadOnlyList<DeviceStatistics> Devices, IReadOnlyList<ReactorStatistics> Reactors);
