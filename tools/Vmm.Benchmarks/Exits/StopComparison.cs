using Vmm.Devices;

namespace Vmm.Benchmarks;

/// <summary>
/// How long a vCPU in a tight loop takes to stand still and go on, beside the same thread with a vCPU that only looks at a flag.
/// </summary>
internal sealed class StopComparison : Comparison
{
    internal override string Suite => "exits";

    internal override string Group => "stop";

    internal override string Description =>
        "a guest in a tight loop is brought to a stand by another thread, and let go until it runs again. "
        + "The baseline is a vCPU of software that spins on a flag (n = 1)";

    internal override IReadOnlyList<int> Sizes => [1];

    /// <summary>A stop is two hand-overs between threads: tens of microseconds.</summary>
    internal override int SliceFactor => 4;

    internal override IReadOnlyList<Variant> Variants { get; } =
    [
        new("flag", _ => OfFlag()),
        new("vmm", _ => StopContender.OfTightLoop()),
    ];

    private static StopContender OfFlag()
    {
        SpinningVcpu vcpu = new();
        return new StopContender(vcpu, vcpu, () => vcpu.Turns);
    }

    /// <summary>Runs nothing until it is asked out.</summary>
    private sealed class SpinningVcpu : IVcpu
    {
        private int _requested;
        private uint _turns;

        internal uint Turns => Volatile.Read(ref _turns);

        public int Index => 0;

        public VcpuExit Run()
        {
            while (Interlocked.Exchange(ref _requested, 0) == 0) Volatile.Write(ref _turns, _turns + 1);
            return new VcpuExit(VcpuExitKind.Interrupted, 0, default, 0);
        }

        public void RequestExit() => Volatile.Write(ref _requested, 1);

        public void Dispose()
        {
        }
    }
}
