using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>How a <see cref="DeviceHost"/> serves its devices. Read once, when the host is made.</summary>
public sealed class DeviceHostOptions
{
    /// <summary>Most reactors of a host: more than a machine has queues are of no use.</summary>
    public const int ReactorsMax = 64;

    /// <summary>
    /// Reactors, each on a thread of its own. Devices are given to them in turn; the queues of one device that share no state are spread
    /// over all.
    /// </summary>
    public int Reactors { get; set; } = 1;

    /// <summary>How the reactors wait.</summary>
    public PollerKind Poller { get; set; } = PollerKind.Epoll;

    /// <summary>Feature bits of rings and transport that are offered beside VERSION_1; null for the transport's defaults.</summary>
    public ulong? CommonFeatures { get; set; }

    /// <summary>
    /// Longest time a vCPU that resets a device waits for it; zero does not wait. Linux frees a queue's memory right after the reset,
    /// without looking whether the device is done with it.
    /// </summary>
    public TimeSpan ResetWait { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>Longest time a stop waits for requests in flight, and then for the serial ports' output.</summary>
    public TimeSpan StopTimeout { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>Whether the time each request takes is measured.</summary>
    public bool MeasureLatency { get; set; } = true;

    /// <summary>How long a request may take before it becomes a span; zero for no spans. <see cref="VirtioDevice.SlowAfter"/></summary>
    public TimeSpan SlowAfter { get; set; }

    /// <summary>Whether serial ports and virtio consoles can be shown to further viewers, who may type: see
    /// <see cref="ConsoleMirror"/>. Each costs 256 KiB.</summary>
    internal bool MirrorConsoles { get; set; }

    /// <summary>Where host and devices say what went wrong.</summary>
    public ILoggerFactory Logging { get; set; } = NullLoggerFactory.Instance;

    /// <summary>Gets a line for each endpoint that a device makes on the host, such as a terminal's path.</summary>
    public Action<string> Announce { get; set; } = _ => { };

    /// <summary>What is wrong with the options, each a sentence.</summary>
    internal IEnumerable<string> Failures()
    {
        if (Reactors is < 1 or > ReactorsMax) yield return $"a device host with {Reactors} reactors: give it 1 to {ReactorsMax}";
        if (ResetWait < TimeSpan.Zero) yield return $"a reset wait of {ResetWait}: it can't be negative";
        if (StopTimeout <= TimeSpan.Zero) yield return $"a stop timeout of {StopTimeout}: give it a time";
    }
}
