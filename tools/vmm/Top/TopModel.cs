using System.Diagnostics;

namespace Vmm.Tool;

/// <summary>What the rows are sorted by.</summary>
internal enum TopOrder
{
    /// <summary>Requests a second, most first.</summary>
    Load,
    /// <summary>Bytes a second, most first.</summary>
    Bytes,
    /// <summary>Latency, longest first.</summary>
    Latency,
    /// <summary>Name.</summary>
    Name,
}

/// <summary>A device between two readings.</summary>
internal sealed class TopDevice
{
    /// <summary>Readings whose latency is kept.</summary>
    internal const int KeptReadings = 20;

    private readonly Queue<double?> _latency = new(KeptReadings);
    private long[]? _counts;
    private DeviceView? _before;

    internal DeviceView View { get; private set; } = null!;

    internal double RequestsPerSecond { get; private set; }

    internal double BytesPerSecond { get; private set; }

    /// <summary>Microseconds that half, and 99 of 100, of the requests since the last reading took less than; null if there were
    /// none.</summary>
    internal double? P50Us { get; private set; }

    /// <inheritdoc cref="P50Us"/>
    internal double? P99Us { get; private set; }

    /// <summary>The last of <see cref="P99Us"/>, the oldest first.</summary>
    internal IEnumerable<double?> Latency => _latency;

    internal void Take(DeviceView view, long[]? counts, IReadOnlyList<double> boundsUs, double seconds)
    {
        View = view;
        if (_before is { } before && seconds > 0)
        {
            RequestsPerSecond = Math.Max(0, view.Requests - before.Requests) / seconds;
            BytesPerSecond = Math.Max(0, view.Bytes - before.Bytes) / seconds;
        }
        long[]? done = counts is not null && _counts is { } counted
            ? [.. counts.Zip(counted, (now, then) => Math.Max(0, now - then))] : null;
        (P50Us, P99Us) = (Percentile(done, boundsUs, 50), Percentile(done, boundsUs, 99));
        if (_latency.Count == KeptReadings) _latency.Dequeue();
        _latency.Enqueue(P99Us);
        (_before, _counts) = (view, counts);
    }

    /// <summary>The bound that so many of 100 requests lie below.</summary>
    internal static double? Percentile(IReadOnlyList<long>? counts, IReadOnlyList<double> bounds, int percent)
    {
        long all = counts?.Sum() ?? 0, below = 0;
        for (int i = 0; all > 0; i++)
        {
            below += counts![i];
            if (100 * below >= percent * all) return bounds[i];
        }
        return null;
    }
}

/// <summary>What devices do, as of the last two readings.</summary>
internal sealed class TopModel
{
    private readonly Dictionary<string, TopDevice> _devices = [];

    /// <summary>The last reading; null before the first.</summary>
    internal TopReading? Reading { get; private set; }

    internal void Take(TopReading reading)
    {
        double seconds = Reading is { } before ? Stopwatch.GetElapsedTime(before.Timestamp, reading.Timestamp).TotalSeconds : 0;
        Dictionary<string, long[]> counts = reading.Latency.Devices.ToDictionary(device => device.Name, device => device.Counts.ToArray());
        foreach (string gone in _devices.Keys.Except(reading.Devices.Select(device => device.Name)).ToArray()) _devices.Remove(gone);
        foreach (DeviceView view in reading.Devices)
        {
            if (!_devices.TryGetValue(view.Name, out TopDevice? device)) _devices[view.Name] = device = new TopDevice();
            device.Take(view, counts.GetValueOrDefault(view.Name), reading.Latency.BoundsUs, seconds);
        }
        Reading = reading;
    }

    internal IReadOnlyList<TopDevice> Sorted(TopOrder order) =>
    [
        .. _devices.Values.OrderByDescending(device => order switch
        {
            TopOrder.Load => device.RequestsPerSecond,
            TopOrder.Bytes => device.BytesPerSecond,
            TopOrder.Latency => device.P99Us ?? 0,
            _ => 0,
        }).ThenBy(device => device.View.Name, StringComparer.Ordinal),
    ];

    internal TopDevice? Find(string? name) => name is null ? null : _devices.GetValueOrDefault(name);
}
