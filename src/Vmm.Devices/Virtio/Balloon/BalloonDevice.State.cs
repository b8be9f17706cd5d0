namespace Vmm.Devices;

// A balloon in another process. What the guest has given up is in the configuration space, and is not in its saved memory.
public sealed partial class BalloonDevice
{
    /// <summary>The statistics buffer that is popped next was read by the process before.</summary>
    private bool _statisticsWereRead;

    /// <inheritdoc/>
    protected internal override void Save(StateWriter to)
    {
        ArgumentNullException.ThrowIfNull(to);
        to.Add("target-bytes", (long)TargetBytes);
        to.Add("statistics-were-read", _statistics?.WasRead ?? _statisticsWereRead);
        lock (_askLock)
        {
            to.Add("reported", _reportedCount != NoReport);
            for (int i = 0; i < _reportedCount; i++)
            {
                StateWriter entry = to.AddItem("statistics");
                entry.Add("tag", (long)_reported[i].Tag);
                entry.Add("value", _reported[i].Value);
            }
        }
    }

    /// <inheritdoc/>
    /// <remarks>A target that this process has set already is the one in force.</remarks>
    protected internal override void Restore(StateReader from)
    {
        ArgumentNullException.ThrowIfNull(from);
        ulong target = (ulong)from.Int64("target-bytes", 0, (long)TargetBytesMax);
        if (TargetBytes == 0) TargetBytes = target;
        _statisticsWereRead = from.Boolean("statistics-were-read");
        bool hasReport = from.Boolean("reported");
        IReadOnlyList<StateReader> entries = from.Items("statistics", StatisticsMax);
        lock (_askLock)
        {
            for (int i = 0; i < entries.Count; i++)
            {
                _reported[i] = new BalloonStatisticEntry
                {
                    Tag = (BalloonStatistic)entries[i].Int32("tag", 0, ushort.MaxValue),
                    Value = entries[i].UInt64("value"),
                };
            }
            _reportedCount = hasReport ? entries.Count : NoReport;
        }
    }
}
