using Vmm.Devices;

namespace Vmm.Benchmarks;

/// <summary>
/// How long a vCPU in a tight loop takes to stand still and go on, beside the same thread with a vCPU that only looks at a flag.
/// </summary>
internal static class StopComparison
{
    internal static Comparison Comparison { get; } = new("exits", "stop",
        "a guest in a tight loop is brought to a stand by another thread, and let go until it runs again. "
        + "The baseline is a vCPU of software that spins on a flag (n = 1)",
        [1],
        [
            new("flag", _ => OfFlag()),
            new("vmm", _ => StopContender.OfTightLoop()),
        ])
    {
        // A stop is two hand-overs between threads: tens of microseconds.
        SliceFactor = 4,
    };

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
