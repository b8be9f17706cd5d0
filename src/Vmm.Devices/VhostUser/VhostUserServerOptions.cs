using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Vmm.Events;

namespace Vmm.Devices.VhostUser;

/// <summary>How a server runs its devices. Read once.</summary>
public sealed record VhostUserServerOptions
{
    /// <summary>Most reactors: more than there are processors gains nothing.</summary>
    public const int ReactorsMax = 256;

    /// <summary>Most that <see cref="MappedBytesMax"/> may be: 64 TiB, half of the addresses a process has.</summary>
    public const ulong MappedBytesLimit = 64UL << 40;

    /// <summary>Reactors, each with a thread of its own. Devices are dealt out to them in turn, and the queues of a disk too.</summary>
    public int Reactors { get; set; } = 1;

    /// <summary>The processors the reactors' threads are kept on, by reactor number; empty: the scheduler decides.</summary>
    public IReadOnlyList<int> Cpus { get; set; } = [];

    /// <summary>Longest time each reactor looks for events before it blocks. See <see cref="ReactorOptions.PollMax"/>.</summary>
    public TimeSpan PollMax { get; set; }

    /// <summary>Takes guest memory that its owner can still shorten. See <see cref="VhostUserBackendOptions.AllowUnsealed"/>.</summary>
    public bool AllowUnsealed { get; set; }

    /// <summary>
    /// Most bytes that all front-ends may have mapped together, of guest memory and of logs; 4 TiB by default. One front-end may have at
    /// most half of what the others leave. Raise it for a guest of more than 2 TiB.
    /// </summary>
    public ulong MappedBytesMax { get; set; } = MappingBudget.StandardBytes;

    /// <summary>Who may connect to the sockets that it makes, where nothing else is said.</summary>
    public SocketAccess Access { get; set; } = new();

    /// <summary>Whether the time of each request is measured.</summary>
    public bool MeasureLatency { get; set; }

    /// <summary>How long a request may take before it becomes a span; zero for no spans. <see cref="VirtioDevice.SlowAfter"/></summary>
    public TimeSpan SlowAfter { get; set; }

    /// <summary>Where devices and connections say what happened.</summary>
    public ILogger Logger { get; set => field = SteadyLogger.Over(value); } = NullLogger.Instance;

    /// <summary>Gets a line for each endpoint that a device makes on the host, such as a terminal's path.</summary>
    public Action<string> Announce { get; set; } = _ => { };

    /// <summary>What is wrong with the options, each a sentence.</summary>
    internal IEnumerable<string> Failures()
    {
        if (Reactors is < 1 or > ReactorsMax) yield return $"{Reactors} reactors: give 1 to {ReactorsMax}";
        if (MappedBytesMax is 0 or > MappedBytesLimit) yield return $"{MappedBytesMax} bytes to map: give 1 to {MappedBytesLimit}";
        if (Cpus.Count > Reactors) yield return $"{Cpus.Count} processors for {Reactors} reactors: give at most one for each";
    }
}
