using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Vmm.Events;

namespace Vmm.Devices.Simulation;

/// <summary>How a simulated machine is made. Read once.</summary>
public sealed record SimulatedMachineOptions
{
    /// <summary>Most vCPUs of a machine.</summary>
    public const int VcpusMax = 64;

    /// <summary>vCPUs, 1 to <see cref="VcpusMax"/>; each has a thread of its own.</summary>
    public int Vcpus { get; init; } = 1;

    /// <summary>Bytes of guest memory, whole MiB; see <see cref="MemoryBytesMin"/>. Memory the guest never touches costs nothing.</summary>
    public ulong MemoryBytes { get; init; } = 256UL << 20;

    /// <summary>
    /// Commands typed on the guest's console before anything else, separated by <c>;</c>. With no <see cref="ConsoleInput"/> the guest powers
    /// off behind them. See <see cref="ShellSyntax.Check"/>.
    /// </summary>
    public string? Commands { get; init; }

    /// <summary>Whether a person sits at the console: the guest then echoes, prompts and lets lines be edited, for a terminal in raw mode.</summary>
    public bool Interactive { get; init; }

    /// <summary>What is typed on the guest's console; taken over. Its end powers the guest off.</summary>
    public OwnedFd? ConsoleInput { get; init; }

    /// <summary>Where the guest's console is printed; taken over. Null drops it.</summary>
    public ISerialOutput? ConsoleOutput { get; init; }

    /// <summary>Called on a vCPU's thread when the guest turns to its commands, and when it is done with them.</summary>
    public Action<GuestPhase> OnPhase { get; init; } = _ => { };

    /// <summary>Where host and devices say what went wrong.</summary>
    public ILogger Logger { get; init; } = NullLogger.Instance;

    /// <summary>Least memory for a machine of so many vCPUs.</summary>
    public static ulong MemoryBytesMin(int vcpus) => GuestPages.MemoryBytesMin(vcpus);

    internal void Validate()
    {
        const ulong MiB = 1 << 20;
        if (Vcpus is < 1 or > VcpusMax)
            throw new ArgumentException($"a machine of {Vcpus} vCPUs: give it 1 to {VcpusMax}");
        if (MemoryBytes % MiB != 0)
            throw new ArgumentException($"a machine of {MemoryBytes} bytes of memory: give it whole MiB");
        if (MemoryBytes < MemoryBytesMin(Vcpus))
        {
            throw new ArgumentException(
                $"a machine of {MemoryBytes / MiB} MiB of memory: {Vcpus} vCPUs need at least {(MemoryBytesMin(Vcpus) + MiB - 1) / MiB} MiB");
        }
    }
}
