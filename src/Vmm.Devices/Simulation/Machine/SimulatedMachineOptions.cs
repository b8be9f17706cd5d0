namespace Vmm.Devices.Simulation;

/// <summary>How a simulated machine is made, beside what its <see cref="DeviceHost"/> has. Read once.</summary>
public sealed record SimulatedMachineOptions
{
    /// <summary>Most vCPUs of a machine.</summary>
    public const int VcpusMax = 64;

    private const ulong MiB = 1 << 20;

    /// <summary>vCPUs, 1 to <see cref="VcpusMax"/>; each has a thread of its own.</summary>
    public int Vcpus { get; init; } = 1;

    /// <summary>
    /// Whether a person sits at the console: the guest then echoes, prompts and lets lines be edited, for a terminal in raw mode.
    /// </summary>
    public bool Interactive { get; init; }

    /// <summary>
    /// How many characters the terminal is wide, asked when keys are typed, on a vCPU's thread. 0 if that is not known: lines then have to
    /// fit.
    /// </summary>
    public Func<int> Columns { get; init; } = () => 0;

    /// <summary>
    /// Whether the console ends at a terminal: commands that take longer than a moment say there how far they are, in a line that they
    /// erase (ECMA-48, EL).
    /// </summary>
    public bool ShowProgress { get; init; }

    /// <summary>Called on a vCPU's thread when the guest turns to its commands, and when it is done with them.</summary>
    internal Action<GuestPhase> OnPhase { get; init; } = _ => { };

    /// <summary>Least memory for a machine of so many vCPUs: bytes, whole MiB.</summary>
    public static ulong MemoryBytesMin(int vcpus) => (GuestPages.MemoryBytesMin(vcpus) + MiB - 1) / MiB * MiB;

    internal void Validate(DeviceHost host)
    {
        if (Vcpus is < 1 or > VcpusMax)
            throw new ArgumentException($"a machine of {Vcpus} vCPUs: give it 1 to {VcpusMax}");
        if (host.Serials.Count == 0)
            throw new ArgumentException("a machine without a console: add a serial port to its host");
        ulong memory = host.Memory.Regions is [{ GuestAddress: 0 } first, ..] ? first.Length : 0;
        if (memory < MemoryBytesMin(Vcpus))
            throw new ArgumentException(
                $"a machine of {memory / MiB} MiB of memory: {Vcpus} vCPUs need at least {MemoryBytesMin(Vcpus) / MiB} MiB");
        IEnumerable<int> lines = host.Devices.Select(hosted => hosted.Line).Append(host.Serials[0].Line);
        if (lines.FirstOrDefault(line => line is < GuestKernel.FirstDeviceVector or >= SimulatedMachine.InterruptsMax,
            -1) is >= 0 and int line)
        {
            throw new ArgumentException(
                $"a device on interrupt line {line}: this machine has lines {GuestKernel.FirstDeviceVector} to "
                + $"{SimulatedMachine.InterruptsMax - 1}");
        }
    }
}
