namespace Vmm.Devices;

public sealed partial class BlockDevice
{
    private const double NanosecondsPerMicrosecond = 1000;

    /// <summary>Of requests that were refused, or asked for the serial number; then the operations, in their order.</summary>
    private static readonly string[] KindNames = ["other", "read", "write", "flush", "discard", "write-zeroes"];

    private readonly long[] _errors = new long[Enum.GetValues<BlockOperationKind>().Length];

    /// <inheritdoc/>
    public override IReadOnlyList<string> RequestKinds => KindNames;

    /// <summary>What it did so far, one entry for each kind of operation. Any thread.</summary>
    public IReadOnlyList<DiskFigures> Figures => [.. Enum.GetValues<BlockOperationKind>().Select(FiguresOf)];

    /// <summary>Operations of a kind that the storage failed. Any thread.</summary>
    public long ErrorsOf(BlockOperationKind kind) => Interlocked.Read(ref _errors[(int)kind]);

    /// <summary>What a kind of operation is called in measurements.</summary>
    internal static string NameOf(BlockOperationKind operation) => KindNames[KindOf(operation)];

    /// <summary>The index into <see cref="RequestKinds"/>.</summary>
    private static int KindOf(BlockOperationKind operation) => 1 + (int)operation;

    private DiskFigures FiguresOf(BlockOperationKind operation)
    {
        LatencyHistogram latency = new();
        foreach (QueueDefinition queue in Queues)
        {
            if (queue.StatisticsSoFar?.LatencyOf(KindOf(operation)) is { } measured) latency.Merge(measured);
        }
        return new DiskFigures(NameOf(operation), latency.Count, ErrorsOf(operation),
            latency.Percentile(50) / NanosecondsPerMicrosecond, latency.Percentile(99) / NanosecondsPerMicrosecond,
            latency.Max / NanosecondsPerMicrosecond);
    }

    private void InspectFigures(InspectNode node)
    {
        node.Add("in-flight", InFlight);
        if (Backend.Reconnects is { } reconnects) node.Add("reconnects", reconnects);
        InspectNode kinds = node.AddNode("operations");
        foreach (DiskFigures done in Figures)
        {
            InspectNode kind = kinds.AddNode(done.Kind);
            kind.Add("errors", done.Errors);
            if (!MeasureLatency) continue;
            kind.Add("measured", done.Measured);
            kind.Add("latency-p50-us", (long)done.LatencyP50Us);
            kind.Add("latency-p99-us", (long)done.LatencyP99Us);
            kind.Add("latency-max-us", (long)done.LatencyMaxUs);
        }
    }
}
