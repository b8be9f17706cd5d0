using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Vmm.Events;

namespace Vmm.Devices.VhostUser;

/// <summary>How a server runs its devices. Read once.</summary>
public sealed record VhostUserServerOptions
{
    /// <summary>Most reactors: more than there are processors gains nothing.</summary>
    public const int ReactorsMax = 256;

    /// <summary>Reactors, each with a thread of its own. Devices are dealt out to them in turn, and the queues of a disk too.</summary>
    public int Reactors { get; init; } = 1;

    /// <summary>The processors the reactors' threads are kept on, by reactor number; empty: the scheduler decides.</summary>
    public IReadOnlyList<int> Cpus { get; init; } = [];

    /// <summary>Longest time each reactor looks for events before it blocks. See <see cref="ReactorOptions.PollMax"/>.</summary>
    public TimeSpan PollMax { get; init; }

    /// <summary>Refuses guest memory that its owner could still cut short. See <see cref="VhostUserBackendOptions.RequireSealed"/>.</summary>
    public bool RequireSealed { get; init; }

    /// <summary>Whether the time of each request is measured.</summary>
    public bool MeasureLatency { get; init; }

    /// <summary>Where devices and connections say what happened.</summary>
    public ILogger Logger { get; init; } = NullLogger.Instance;

    internal void Validate()
    {
        if (Reactors is < 1 or > ReactorsMax) throw new ArgumentException($"{Reactors} reactors: give 1 to {ReactorsMax}");
        if (Cpus.Count > Reactors) throw new ArgumentException($"{Cpus.Count} processors for {Reactors} reactors: give at most one for each");
    }
}
