namespace Vmm.Benchmarks;

/// <summary>Calls of a thread that waits for each answer, to a reactor that polls on another processor.</summary>
internal sealed class InvokeComparison : Comparison
{
    internal override string Suite => "invoke";

    internal override string Group => "invoke";

    internal override string Description =>
        "a thread on processor 1 has a reactor on processor 0 run a function, and waits for its result. The baseline is two C threads that "
        + "spin on a word each";

    internal override IReadOnlyList<int> Sizes => [1];

    internal override IReadOnlyList<Variant> Variants { get; } =
    [
        new("c-loop", _ => new SpinningCall()),
        new("vmm-polling", _ => new PinnedInvoke(callerCpu: 1, InvokeComparisons.Long)),
        new("vmm", _ => new PinnedInvoke(callerCpu: 1, TimeSpan.Zero)),
    ];
}

/// <summary>The same where caller and reactor have one processor between them.</summary>
internal sealed class InvokeOnOneProcessor : Comparison
{
    internal override string Suite => "invoke";

    internal override string Group => "invoke-one-cpu";

    internal override string Description => "the same with both threads on processor 0. The baseline is a reactor that does not poll";

    internal override IReadOnlyList<int> Sizes => [1];

    internal override IReadOnlyList<Variant> Variants { get; } =
    [
        new("vmm", _ => new PinnedInvoke(callerCpu: 0, TimeSpan.Zero)),
        new("vmm-polling", _ => new PinnedInvoke(callerCpu: 0, InvokeComparisons.Usual)),
    ];
}

/// <summary>How long the reactors poll.</summary>
internal static class InvokeComparisons
{
    internal static readonly TimeSpan Usual = TimeSpan.FromMicroseconds(50), Long = TimeSpan.FromMilliseconds(1);
}
