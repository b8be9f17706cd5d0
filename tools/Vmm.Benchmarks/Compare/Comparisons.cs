namespace Vmm.Benchmarks;

/// <summary>Every comparison there is, in the order of the report.</summary>
internal static class Comparisons
{
    internal const string EverySuite = "all";

    internal static IReadOnlyList<Comparison> All { get; } =
    [
        DispatchComparisons.OneReady,
        DispatchComparisons.FourDescriptors,
        DispatchComparisons.AllReady,
        Register.Comparison,
        Remote.Comparison,
        InvokeComparisons.TwoProcessors,
        InvokeComparisons.OneProcessor,
        NotifierCycle.Comparison,
        RingComparisons.Cached,
        RingComparisons.Direct,
        Spawn.Comparison,
        Wake.Comparison,
        RemoteWake.Comparison,
        BufferCycle.Comparison,
        QueueComparisons.Split,
        QueueComparisons.Packed,
        VsockComparisons.Out,
        VsockComparisons.In,
        VsockComparisons.Streams,
        BlockComparison.Comparison,
        PinnedComparison.Comparison,
        NetComparisons.In,
        NetComparisons.Out,
        ExitComparison.Comparison,
        StopComparison.Comparison,
        StartComparison.Comparison,
        BootStartComparison.Comparison,
        RestoreComparison.Comparison,
    ];

    internal static IReadOnlyList<string> Suites { get; } =
    [
        .. All.Select(comparison => comparison.Suite).Distinct(),
        IdleReport.Suite, NeighbourReport.Suite, FootprintReport.Suite, RemoteDiskReport.NbdSuite,
        RemoteDiskReport.RbdSuite, LimitReport.Suite, HotPlugReport.Suite, SaveReport.Suite, EverySuite,
    ];

    internal static IEnumerable<Comparison> InSuite(string suite) =>
        All.Where(comparison => suite == EverySuite || comparison.Suite == suite || comparison.Group == suite);
}
