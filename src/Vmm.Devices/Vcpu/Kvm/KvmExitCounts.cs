namespace Vmm.Devices.Kvm;

/// <summary>Exits of one vCPU to user space, counted by its own thread. Kicks by ioeventfd are not among them: they never get here.</summary>
public sealed class KvmExitCounts
{
    private readonly long[] _byKind = new long[(int)VcpuExitKind.Failed + 1];
    private long _answeredHere;

    /// <summary>Exits of one kind.</summary>
    public long Of(VcpuExitKind kind) => Volatile.Read(ref _byKind[(int)kind]);

    /// <summary>Exits that need no device: hypercalls (refused), unknown model-specific registers (refused), reports.</summary>
    public long AnsweredHere => Volatile.Read(ref _answeredHere);

    internal void Count(VcpuExitKind kind) => _byKind[(int)kind]++;

    internal void CountAnsweredHere() => _answeredHere++;
}
