using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>What a <see cref="DeviceHost"/> is made of. Read once, when the host is made.</summary>
public sealed class DeviceHostOptions
{
    /// <summary>Most reactors of a host: more than a machine has queues are of no use.</summary>
    public const int ReactorsMax = 64;

    private const ulong PageBytes = 4096;

    /// <summary>Reactors, each on a thread of its own. Devices are given to them in turn; queues that share nothing are spread over all.</summary>
    public int Reactors { get; set; } = 1;

    /// <summary>How the reactors wait.</summary>
    public PollerKind Poller { get; set; } = PollerKind.Epoll;

    /// <summary>Bytes of guest memory from guest address 0, a multiple of 4096. Not used if <see cref="Memory"/> is given.</summary>
    public ulong MemoryBytes { get; set; } = 256UL << 20;

    /// <summary>The guest's memory, if it is laid out elsewhere. It stays the caller's.</summary>
    public GuestMemory? Memory { get; set; }

    /// <summary>Guest address of the first device's registers, a multiple of 4096; the others follow. By default above any memory.</summary>
    public ulong MmioBase { get; set; } = 1UL << 40;

    /// <summary>The interrupt line of the first virtio device; the others follow.</summary>
    public int FirstInterrupt { get; set; } = 8;

    /// <summary>Most virtio devices: each has an interrupt line of its own.</summary>
    public int DevicesMax { get; set; } = 56;

    /// <summary>Feature bits of rings and transport that are offered beside VERSION_1; null for the transport's defaults.</summary>
    public ulong? CommonFeatures { get; set; }

    /// <summary>Longest time a vCPU that resets a device waits for it; see <see cref="VirtioMmioOptions.ResetWait"/>.</summary>
    public TimeSpan ResetWait { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>Longest time a stop waits for requests in flight.</summary>
    public TimeSpan StopTimeout { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>Whether the time each request takes is measured.</summary>
    public bool MeasureLatency { get; set; } = true;

    /// <summary>Where host and devices say what went wrong.</summary>
    public ILoggerFactory Logging { get; set; } = NullLoggerFactory.Instance;

    /// <summary>What is wrong with the options, each a sentence.</summary>
    internal IEnumerable<string> Failures()
    {
        if (Reactors is < 1 or > ReactorsMax) yield return $"a device host with {Reactors} reactors: give it 1 to {ReactorsMax}";
        if (Memory is null && (MemoryBytes == 0 || MemoryBytes % PageBytes != 0))
            yield return $"a device host with {MemoryBytes} bytes of guest memory: give it a multiple of {PageBytes}";
        if (MmioBase % PageBytes != 0) yield return $"device registers at 0x{MmioBase:x}: give them a multiple of {PageBytes}";
        if (Memory is null && MmioBase < MemoryBytes) yield return $"device registers at 0x{MmioBase:x} lie in the guest's memory of {MemoryBytes} bytes: put them above";
        if (FirstInterrupt < 0) yield return $"a first interrupt line of {FirstInterrupt}: lines count from 0";
        if (DevicesMax < 1) yield return $"a device host with room for {DevicesMax} devices: give it 1 or more";
        if (ResetWait < TimeSpan.Zero) yield return $"a reset wait of {ResetWait}: it can't be negative";
        if (StopTimeout <= TimeSpan.Zero) yield return $"a stop timeout of {StopTimeout}: give it a time";
    }
}
