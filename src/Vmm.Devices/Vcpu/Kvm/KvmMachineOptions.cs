namespace Vmm.Devices.Kvm;

/// <summary>How a KVM machine is made. Read once.</summary>
public sealed record KvmMachineOptions
{
    /// <summary>Most vCPUs of a machine.</summary>
    public const int VcpusMax = 64;

    /// <summary>Least memory of a machine, in bytes: a kernel and what it is handed.</summary>
    public const ulong MemoryBytesMin = 16 << 20;

    /// <summary>What it boots.</summary>
    public required BootSource Boot { get; init; }

    /// <summary>vCPUs, 1 to <see cref="VcpusMax"/>; each has a thread of its own.</summary>
    public int Vcpus { get; init; } = 1;

    /// <summary>Bytes of guest memory, whole MiB. Memory the guest never touches costs nothing.</summary>
    public ulong MemoryBytes { get; init; } = 512UL << 20;

    /// <summary>
    /// Whether the guest finds its processors and devices by ACPI. Without it there is one vCPU, and the virtio devices are named on the
    /// command line (<c>virtio_mmio.device=</c>), for kernels that have no ACPI but take that.
    /// </summary>
    public bool Acpi { get; init; } = true;

    /// <summary>KVM's device file.</summary>
    public string KvmPath { get; init; } = KvmSystem.DefaultPath;

    internal void Validate()
    {
        const ulong MiB = 1 << 20;
        if (Vcpus is < 1 or > VcpusMax) throw new ArgumentException($"a machine of {Vcpus} vCPUs: give it 1 to {VcpusMax}");
        if (!Acpi && Vcpus > 1) throw new ArgumentException($"a machine of {Vcpus} vCPUs without ACPI: its kernel finds only one");
        if (MemoryBytes % MiB != 0 || MemoryBytes < MemoryBytesMin)
            throw new ArgumentException($"a machine of {MemoryBytes} bytes of memory: give it whole MiB, {MemoryBytesMin / MiB} or more");
    }
}
