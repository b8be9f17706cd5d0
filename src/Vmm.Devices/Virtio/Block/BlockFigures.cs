namespace Vmm.Devices;

/// <summary>What a disk did so far, by kinds of operations: what its queues measured, and what the storage failed. Any thread.</summary>
internal sealed class BlockFigures(BlockDevice disk)
{
    private const double NanosecondsPerMicrosecond = 1000;

    /// <summary>Of requests that were refused, or asked for the serial number; then the operations, in their order.</summary>
    internal static readonly string[] KindNames = ["other", "read", "write", "flush", "discard", "write-zeroes"];

    private readonly long[] _errors = new long[Enum.GetValues<BlockOperationKind>().Length];

    /// <summary>The index into <see cref="KindNames"/>.</summary>
    internal static int KindOf(BlockOperationKind operation) => 1 + (int)operation;

    internal long ErrorsOf(BlockOperationKind kind) => Interlocked.Read(ref _errors[(int)kind]);

    internal void CountError(BlockOperationKind kind) => Interlocked.Increment(ref _errors[(int)kind]);

    internal DiskFigures Of(BlockOperationKind operation)
    {
        LatencyHistogram latency = new();
        foreach (QueueDefinition queue in disk.Queues)
        {
            if (queue.StatisticsSoFar?.LatencyOf(KindOf(operation)) is { } measured) latency.Merge(measured);
        }
        return new DiskFigures(KindNames[KindOf(operation)], latency.Count, ErrorsOf(operation),
            latency.Percentile(50) / NanosecondsPerMicrosecond, latency.Percentile(99) / NanosecondsPerMicrosecond,
            latency.Max / NanosecondsPerMicrosecond);
    }

    internal void Inspect(InspectNode node)
    {
        node.Add("in-flight", disk.InFlight);
        if (disk.Backend.Reconnects is { } reconnects) node.Add("reconnects", reconnects);
        InspectNode kinds = node.AddNode("operations");
        foreach (DiskFigures done in disk.Figures)
        {
            InspectNode kind = kinds.AddNode(done.Kind);
            kind.Add("errors", done.Errors);
            if (!disk.MeasureLatency) continue;
            kind.Add("measured", done.Measured);
            kind.Add("latency-p50-us", (long)done.LatencyP50Us);
            kind.Add("latency-p99-us", (long)done.LatencyP99Us);
            kind.Add("latency-max-us", (long)done.LatencyMaxUs);
        }
    }
}
