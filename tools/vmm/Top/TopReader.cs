using System.Diagnostics;

namespace Vmm.Tool;

/// <summary>What the other <c>vmm</c> said at one time.</summary>
/// <param name="Timestamp">When, by <see cref="Stopwatch.GetTimestamp"/>.</param>
/// <param name="Machine">What runs.</param>
/// <param name="Devices">Its devices.</param>
/// <param name="Latency">How long their requests took so far.</param>
/// <param name="Inspected">The tree of everything, as JSON; null if it was not asked for.</param>
internal sealed record TopReading(long Timestamp, MachineView Machine, IReadOnlyList<DeviceView> Devices, LatencyView Latency,
    string? Inspected);

/// <summary>Reads what <c>vmm top</c> shows.</summary>
internal sealed class TopReader(CtlClient client)
{
    /// <exception cref="IOException">The other process is gone.</exception>
    internal TopReading Read(bool inspect) => new(Stopwatch.GetTimestamp(),
        client.Get("/v1/machine", ApiJson.Readable.MachineView),
        client.Get("/v1/devices", ApiJson.Readable.DeviceList).Devices,
        client.Get("/v1/latency", ApiJson.Readable.LatencyView),
        inspect ? client.Text("/v1/inspect") : null);
}
