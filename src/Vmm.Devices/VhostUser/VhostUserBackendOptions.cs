using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Vmm.Events;

namespace Vmm.Devices.VhostUser;

/// <summary>How a device is served over vhost-user.</summary>
public sealed record VhostUserBackendOptions
{
    /// <summary>Where it says who came, who went and what was refused.</summary>
    public ILogger Logger { get; init; } = NullLogger.Instance;

    /// <summary>
    /// Refuses guest memory that its owner could still cut short: touching a mapping beyond the end of its file ends this process (SIGBUS).
    /// Otherwise such memory is accepted with one warning a device.
    /// </summary>
    public bool RequireSealed { get; init; }

    /// <summary>
    /// The reactors that serve the queues, by queue number, the last repeated; empty: the device's own serves them. Only for a device whose
    /// <see cref="VirtioDevice.QueuesAreIndependent"/>.
    /// </summary>
    public IReadOnlyList<RemoteEndpoint> QueueReactors { get; init; } = [];

    /// <summary>Whether the time of each request goes into the queues' latency histograms.</summary>
    public bool MeasureLatency { get; init; }
}
