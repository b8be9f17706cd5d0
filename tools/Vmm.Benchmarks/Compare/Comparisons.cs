namespace Vmm.Benchmarks;

/// <summary>Every comparison there is, in the order of the report.</summary>
internal static class Comparisons
{
    internal const string EverySuite = "all";

    internal static IReadOnlyList<Comparison> All { get; } =
    [
        new OneReady(),
        new FourDescriptors(),
        new AllReady(),
        new Register(),
        new Remote(),
        new InvokeComparison(),
        new InvokeOnOneProcessor(),
        new NotifierCycle(),
        new CachedReads(),
        new DirectReads(),
        new Spawn(),
        new Wake(),
        new RemoteWake(),
        new BufferCycle(),
        new SplitQueueComparison(),
        new PackedQueueComparison(),
        new VsockOutComparison(),
        new VsockInComparison(),
        new VsockStreamsComparison(),
        new BlockComparison(),
        new PinnedComparison(),
        new NetInComparison(),
        new NetOutComparison(),
        new ExitComparison(),
        new StopComparison(),
        new StartComparison(),
        new BootStartComparison(),
        new RestoreComparison(),
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
