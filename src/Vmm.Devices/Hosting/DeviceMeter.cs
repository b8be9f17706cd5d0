using System.Diagnostics.Metrics;

namespace Vmm.Devices;

/// <summary>
/// The meter <c>Vmm.Devices</c> (System.Diagnostics.Metrics) of one host. Its numbers are read when a listener collects: without one they
/// cost nothing, and a collection costs no reactor anything. Each measurement has the tag <c>device</c>.
/// </summary>
internal sealed class DeviceMeter : IDisposable
{
    internal const string Name = "Vmm.Devices";

    private readonly Meter _meter = new(Name);
    private readonly Func<IEnumerable<VirtioDevice>> _devices;

    /// <param name="devices">The devices of the host now. Any thread.</param>
    internal DeviceMeter(Func<IEnumerable<VirtioDevice>> devices)
    {
        _devices = devices;
        CountEach("vmm.device.kicks", "{kick}", "Kicks that arrived.", device => device.Totals.Kicks);
        CountEach("vmm.device.requests", "{request}", "Requests given back.", device => device.Totals.Requests);
        CountEach("vmm.device.io", "By", "Bytes read from and written to the buffers of requests.", device => device.Totals.Bytes);
        CountEach("vmm.device.interrupts", "{interrupt}", "Interrupts for used buffers.", device => device.Totals.Interrupts);
        CountEach("vmm.device.guest_faults", "{fault}", "Times the driver did something forbidden.", device => device.GuestFaults);
        CountEach("vmm.device.host_faults", "{fault}", "Times the host failed the device.", device => device.HostFaults);
        _meter.CreateObservableCounter("vmm.device.throttled_time", () => Measure<double>(device => device.Limit is null
            ? null : device.Totals.Throttled.TotalSeconds), "s", "Time that queues waited for their device's limit.");
        _meter.CreateObservableUpDownCounter("vmm.device.in_flight", () => Measure<long>(device => device.InFlight), "{request}",
            "Requests that were taken and not given back yet.");
        _meter.CreateObservableCounter("vmm.disk.errors", MeasureErrors, "{operation}", "Operations that the storage of a disk failed.");
        _meter.CreateObservableCounter("vmm.disk.reconnects", () => Measure(device => (device as BlockDevice)?.Backend.Reconnects),
            "{reconnect}", "Times that the storage of a disk went away and was reached again.");
        _meter.CreateObservableCounter("vmm.queue.requests", MeasureQueues, "{request}", "Requests given back by a queue that started.");
        _meter.CreateObservableUpDownCounter("vmm.disk.capacity", () => Measure<long>(device => device is BlockDevice disk
            ? (long)disk.Backend.CapacityBytes : null), "By", "Bytes that a disk holds.");
    }

    /// <summary>Adds a count that only some hosts have.</summary>
    internal void Count(string name, string unit, string description, Func<IEnumerable<(string Device, long Value)>> values) =>
        _meter.CreateObservableCounter(name, () => Measure(values), unit, description);

    /// <summary>Adds a number that goes up and down.</summary>
    internal void Gauge(string name, string unit, string description, Func<IEnumerable<(string Device, long Value)>> values) =>
        _meter.CreateObservableUpDownCounter(name, () => Measure(values), unit, description);

    public void Dispose() => _meter.Dispose();

    private void CountEach(string name, string unit, string description, Func<VirtioDevice, long> value) =>
        _meter.CreateObservableCounter(name, () => Measure<long>(device => value(device)), unit, description);

    private static IEnumerable<Measurement<long>> Measure(Func<IEnumerable<(string Device, long Value)>> values) =>
        values().Select(each => new Measurement<long>(each.Value, Tag("device", each.Device)));

    private IEnumerable<Measurement<T>> Measure<T>(Func<VirtioDevice, T?> value) where T : struct
    {
        foreach (VirtioDevice device in _devices())
        {
            if (value(device) is { } number) yield return new Measurement<T>(number, Tag("device", device.Name));
        }
    }

    /// <summary>Of disks that had a driver: a server of thousands may have few of them.</summary>
    private IEnumerable<Measurement<long>> MeasureErrors()
    {
        foreach (BlockDevice disk in _devices().OfType<BlockDevice>())
        {
            if (disk.Queues.All(queue => queue.StatisticsSoFar is null)) continue;
            foreach (BlockOperationKind kind in Enum.GetValues<BlockOperationKind>())
                yield return new Measurement<long>(disk.ErrorsOf(kind), Tag("device", disk.Name), Tag("kind", BlockDevice.NameOf(kind)));
        }
    }

    private IEnumerable<Measurement<long>> MeasureQueues()
    {
        foreach (VirtioDevice device in _devices())
        {
            foreach (QueueDefinition queue in device.Queues)
            {
                if (queue.StatisticsSoFar is { } done)
                    yield return new Measurement<long>(done.Requests, Tag("device", device.Name), Tag("queue", queue.Name));
            }
        }
    }

    private static KeyValuePair<string, object?> Tag(string name, string value) => new(name, value);
}
