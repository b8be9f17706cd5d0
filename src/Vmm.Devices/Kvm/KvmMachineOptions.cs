namespace Vmm.Devices.Kvm;

/// <summary>How a KVM machine is made. Read once.</summary>
public sealed record KvmMachineOptions
{
    /// <summary>Most vCPUs of a machine.</summary>
    public const int VcpusMax = 64;

    /// <summary>Least memory of a machine, in bytes: a kernel and what it is handed.</summary>
    public const ulong MemoryBytesMin = 16 << 20;

    /// <summary>What it boots; null for a machine that goes on from <see cref="Restore"/>.</summary>
    public BootSource? Boot { get; init; }

    /// <summary>
    /// What it goes on from, in place of a boot. vCPUs, memory and ACPI are as they were saved (<see cref="GoingOn"/>), and its host gets
    /// the same devices by the same names, in any order.
    /// </summary>
    public MachineSnapshot? Restore { get; init; }

    /// <summary>vCPUs, 1 to <see cref="VcpusMax"/>; each has a thread of its own.</summary>
    public int Vcpus { get; init; } = 1;

    /// <summary>Bytes of guest memory, whole MiB. Memory the guest never touches costs nothing.</summary>
    public ulong MemoryBytes { get; init; } = 512UL << 20;

    /// <summary>
    /// What guest memory is made of. A machine on huge pages stands still while it is saved, and a machine that goes on from a snapshot has
    /// none: its memory is mapped from a file.
    /// </summary>
    public PageSize Pages { get; init; }

    /// <summary>The host's processors that vCPUs are kept on, by vCPU number; empty, or too few: the scheduler decides.</summary>
    public IReadOnlyList<int> Cpus { get; init; } = [];

    /// <summary>
    /// Whether the guest finds its processors and devices by ACPI. Without it there is one vCPU, and the virtio devices are named on the
    /// command line (<c>virtio_mmio.device=</c>), for kernels that have no ACPI but take that.
    /// </summary>
    public bool Acpi { get; init; } = true;

    /// <summary>KVM's device file.</summary>
    public string KvmPath { get; init; } = KvmSystem.DefaultPath;

    /// <summary>The options of a machine that goes on from a snapshot.</summary>
    public static KvmMachineOptions GoingOn(MachineSnapshot snapshot)
    {
        ArgumentNullException.ThrowIfNull(snapshot);
        return new KvmMachineOptions
        {
            Restore = snapshot,
            Vcpus = snapshot.Vcpus,
            MemoryBytes = snapshot.MemoryBytes,
            Acpi = snapshot.Acpi,
        };
    }

    internal void Validate()
    {
        const ulong MiB = 1 << 20;
        if (Boot is null == Restore is null) throw new ArgumentException("a machine boots or goes on from a snapshot: give one of them");
        if (Differences.Length > 0) throw new ArgumentException($"the machine in '{Restore?.Directory}' is another: {Differences}");
        if (Vcpus is < 1 or > VcpusMax) throw new ArgumentException($"a machine of {Vcpus} vCPUs: give it 1 to {VcpusMax}");
        if (!Acpi && Vcpus > 1) throw new ArgumentException($"a machine of {Vcpus} vCPUs without ACPI: its kernel finds only one");
        if (Restore is not null && Pages != PageSize.Standard)
            throw new ArgumentException("huge pages for a machine that goes on from a snapshot: its memory is mapped from the snapshot");
        if (Cpus.Count > Vcpus) throw new ArgumentException($"{Cpus.Count} processors for {Vcpus} vCPUs: give at most one for each");
        if (MemoryBytes % MiB != 0 || MemoryBytes < MemoryBytesMin)
            throw new ArgumentException($"a machine of {MemoryBytes} bytes of memory: give it whole MiB, {MemoryBytesMin / MiB} or more");
        if (MemoryBytes % GuestRegion.BytesOf(Pages) != 0) throw new ArgumentException(
            $"a machine of {MemoryBytes / MiB} MiB on huge pages: give it whole pages of {GuestRegion.BytesOf(Pages) / MiB} MiB");
    }

    /// <summary>What of these options is not as in <see cref="Restore"/>, in words; empty if nothing.</summary>
    public string Differences => Restore is not { } saved ? "" : string.Join("; ", new[]
    {
        saved.MemoryBytes == MemoryBytes ? "" : $"its machine has {saved.MemoryBytes >> 20} MiB of memory, not {MemoryBytes >> 20}",
        saved.Vcpus == Vcpus ? "" : $"its machine has {saved.Vcpus} vCPUs, not {Vcpus}",
        saved.Acpi == Acpi ? "" : saved.Acpi ? "its machine has ACPI" : "its machine has no ACPI",
    }.Where(part => part.Length > 0));
}
