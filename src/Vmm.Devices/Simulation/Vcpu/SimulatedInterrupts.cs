namespace Vmm.Devices.Simulation;

/// <summary>
/// The interrupt controller of a simulated machine: edge-triggered lines and interrupts between CPUs, each one bit that stays pending in
/// its CPU until that takes it, and wakes it if it is halted. Thread-safe; raising one allocates nothing.
/// </summary>
internal sealed class SimulatedInterrupts
{
    /// <summary>Vectors of a CPU, from 0; the lowest pending one is taken first.</summary>
    public const int VectorCount = 64;

    private readonly CpuInterrupts[] _cpus;

    /// <summary>Makes a controller with nothing pending.</summary>
    public SimulatedInterrupts(int cpuCount)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(cpuCount, 1);
        _cpus = new CpuInterrupts[cpuCount];
        for (int i = 0; i < cpuCount; i++) _cpus[i] = new CpuInterrupts();
    }

    /// <summary>CPUs it serves.</summary>
    public int CpuCount => _cpus.Length;

    /// <summary>A line that raises a vector of a CPU at each <see cref="IInterrupt.Assert"/>.</summary>
    public IInterrupt Line(int vector, int cpu = 0)
    {
        Check(vector);
        return new EdgeLine(_cpus[cpu], vector);
    }

    /// <summary>Raises a vector of a CPU; one that is pending already stays one interrupt.</summary>
    public void Raise(int cpu, int vector)
    {
        Check(vector);
        _cpus[cpu].Raise(vector);
    }

    internal CpuInterrupts Of(int cpu) => _cpus[cpu];

    private static void Check(int vector) =>
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)vector, (uint)VectorCount, nameof(vector));

    private sealed class EdgeLine(CpuInterrupts cpu, int vector) : IInterrupt
    {
        public void Assert() => cpu.Raise(vector);

        public void Deassert()
        {
        }
    }
}
