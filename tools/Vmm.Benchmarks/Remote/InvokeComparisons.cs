namespace Vmm.Benchmarks;

/// <summary>Calls of a thread that waits for each answer, to a reactor on processor 0.</summary>
internal static class InvokeComparisons
{
    /// <summary>How long the reactors poll.</summary>
    private static readonly TimeSpan Usual = TimeSpan.FromMicroseconds(50), Long = TimeSpan.FromMilliseconds(1);

    internal static Comparison TwoProcessors { get; } = new("invoke", "invoke",
        "a thread on processor 1 has a reactor on processor 0 run a function, and waits for its result. The baseline is two C threads that "
        + "spin on a word each",
        [1],
        [
            new("c-loop", _ => new SpinningCall()),
            new("vmm-polling", _ => new PinnedInvoke(callerCpu: 1, Long)),
            new("vmm", _ => new PinnedInvoke(callerCpu: 1, TimeSpan.Zero)),
        ]);

    internal static Comparison OneProcessor { get; } = new("invoke", "invoke-one-cpu",
        "the same with both threads on processor 0. The baseline is a reactor that does not poll",
        [1],
        [
            new("vmm", _ => new PinnedInvoke(callerCpu: 0, TimeSpan.Zero)),
            new("vmm-polling", _ => new PinnedInvoke(callerCpu: 0, Usual)),
        ]);
}
