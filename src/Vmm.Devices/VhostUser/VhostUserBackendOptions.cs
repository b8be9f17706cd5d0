using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Vmm.Events;

namespace Vmm.Devices.VhostUser;

/// <summary>How a device is served over vhost-user.</summary>
public sealed record VhostUserBackendOptions
{
    /// <summary>Where it says who came, who went and what was refused.</summary>
    public ILogger Logger { get; init => field = SteadyLogger.Over(value); } = NullLogger.Instance;

    /// <summary>
    /// Takes guest memory that its owner can still shorten (no F_SEAL_SHRINK, fcntl(2)), with one warning a device: for front-ends that
    /// cannot seal theirs, such as cloud-hypervisor, User Mode Linux and DPDK without huge pages. Otherwise it is refused.
    /// </summary>
    public bool AllowUnsealed { get; init; }

    /// <summary>What front-ends may map, shared by the devices of a process.</summary>
    internal MappingBudget Mappings { get; init; } = ProcessMappings;
    private static readonly MappingBudget ProcessMappings = new(MappingBudget.StandardBytes);

    /// <summary>Makes calls that take as long as a front-end likes, on another thread.</summary>
    internal Func<Action, Task> SlowCalls { get; init; } = Task.Run;

    /// <summary>
    /// The reactor that serves each queue, by the queue's number: one for each. Empty: the device's own reactor serves them all, as for any
    /// device whose queues share state.
    /// </summary>
    public IReadOnlyList<RemoteEndpoint> QueueReactors { get; init; } = [];

    /// <summary>Who may connect to the socket that it makes.</summary>
    public SocketAccess Access { get; init; } = new();

    /// <summary>Whether the time of each request goes into the queues' latency histograms.</summary>
    public bool MeasureLatency { get; init; }
}
