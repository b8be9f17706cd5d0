using System.Diagnostics;

namespace Vmm.Devices;

/// <summary>
/// The guest's statistics (virtio 1.2 § 5.5.6.3): the driver fills a buffer, the device keeps it until it wants the next. Any thread may
/// ask; the worker of the queue is the reactor's.
/// </summary>
internal sealed class BalloonStatistics
{
    /// <summary>Most entries looked at: more than any version of the specification has.</summary>
    private const int EntriesMax = 64;

    private const int NoReport = -1;

    private readonly Lock _lock = new();
    private readonly List<TaskCompletionSource<IReadOnlyDictionary<BalloonStatistic, ulong>>> _asked = [];
    private readonly BalloonStatisticEntry[] _reported = new BalloonStatisticEntry[EntriesMax];
    private int _reportedCount = NoReport;
    private StatisticsWorker? _worker;

    /// <summary>The buffer that the next worker pops first was read by the process before.</summary>
    private bool _nextWasRead;

    /// <summary>What the guest reported last; null if it reported nothing yet.</summary>
    internal IReadOnlyDictionary<BalloonStatistic, ulong>? Last
    {
        get { lock (_lock) return _reportedCount == NoReport ? null : Reported(); }
    }

    /// <inheritdoc cref="BalloonDevice.ReadStatisticsAsync"/>
    internal async Task<IReadOnlyDictionary<BalloonStatistic, ulong>> ReadAsync(CancellationToken cancellation)
    {
        TaskCompletionSource<IReadOnlyDictionary<BalloonStatistic, ulong>> answer = new(TaskCreationOptions.RunContinuationsAsynchronously);
        lock (_lock)
        {
            _asked.Add(answer);
            _worker?.Ask();
        }
        try
        {
            return await answer.Task.WaitAsync(cancellation).ConfigureAwait(false);
        }
        finally
        {
            lock (_lock) _asked.Remove(answer);
        }
    }

    /// <summary>Serves the queue of statistics.</summary>
    internal QueueWorker Serve(QueueContext context) => new StatisticsWorker(this, context);

    /// <summary>What the driver said is not so any more. On the device's reactor.</summary>
    internal void Renew() => _worker?.Renew();

    internal void Save(StateWriter to)
    {
        to.Add("statistics-were-read", _worker?.WasRead ?? _nextWasRead);
        lock (_lock)
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

    internal void Restore(StateReader from)
    {
        _nextWasRead = from.Boolean("statistics-were-read");
        bool hasReport = from.Boolean("reported");
        IReadOnlyList<StateReader> entries = from.Items("statistics", EntriesMax);
        lock (_lock)
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

    private bool IsAsked
    {
        get { lock (_lock) return _asked.Count > 0; }
    }

    private void Take(ChainReader reader)
    {
        lock (_lock)
        {
            for (_reportedCount = 0; _reportedCount < EntriesMax
                && reader.TryRead(out BalloonStatisticEntry entry); _reportedCount++) _reported[_reportedCount] = entry;
            if (_asked.Count == 0) return;
            Dictionary<BalloonStatistic, ulong> statistics = Reported();
            foreach (TaskCompletionSource<IReadOnlyDictionary<BalloonStatistic, ulong>> answer in _asked) answer.TrySetResult(statistics);
            _asked.Clear();
        }
    }

    /// <summary>
    /// What was reported last: made only when it is asked for. Under the lock; of a tag reported twice, the last counts.
    /// </summary>
    private Dictionary<BalloonStatistic, ulong> Reported()
    {
        Dictionary<BalloonStatistic, ulong> statistics = [];
        foreach (BalloonStatisticEntry entry in _reported.AsSpan(0, _reportedCount)) statistics[entry.Tag] = entry.Value;
        return statistics;
    }

    private static void GiveBack(DescriptorChain chain)
    {
        // It was kept until the next one is wanted, on purpose: that is no latency.
        if (chain.PoppedAt != 0) chain.PoppedAt = Stopwatch.GetTimestamp();
        chain.Queue.Push(chain, 0);
    }

    /// <summary>Keeps the driver's buffer until the next statistics are wanted, and gives it back then: the driver fills it anew.</summary>
    private sealed class StatisticsWorker : QueueWorker
    {
        private readonly BalloonStatistics _statistics;
        private DescriptorChain? _kept;
        private bool _areStale;
        private bool _wasRead;

        internal StatisticsWorker(BalloonStatistics statistics, QueueContext context) : base(context)
        {
            _statistics = statistics;
            _wasRead = statistics._nextWasRead;
            statistics._nextWasRead = false;
            lock (statistics._lock) statistics._worker = this;
        }

        /// <summary>The buffer that is popped next was read before a pause.</summary>
        internal bool WasRead => _wasRead;

        /// <summary>The next statistics are wanted. Any thread.</summary>
        internal void Ask() => Context.ServeSoon();

        /// <summary>What the driver said is not so any more.</summary>
        internal void Renew()
        {
            _areStale = true;
            Context.ServeNow();
        }

        public override void Serve()
        {
            VirtQueue queue = Queue;
            while (queue.TryPop(out DescriptorChain? chain))
            {
                // A driver has one such buffer. What more there is comes back at once.
                if (_kept is { } before) GiveBack(before);
                _kept = chain;
                // Whether it is the driver's first or one that was asked for: it was filled just now.
                if (!_wasRead)
                {
                    _statistics.Take(chain.Readable);
                    _areStale = false;
                }
                _wasRead = false;
            }
            if (_kept is not { } filled || !(_areStale || _statistics.IsAsked)) return;
            _kept = null;
            _areStale = false;
            GiveBack(filled);
        }

        public override void Quiesce(QuiesceReason reason)
        {
            if (_kept is not { } chain) return;
            _kept = null;
            _wasRead = reason != QuiesceReason.Reset;
            if (_wasRead) Queue.Unpop(chain); else GiveBack(chain);
        }

        protected override void Dispose(bool disposing)
        {
            lock (_statistics._lock) _statistics._worker = null;
            base.Dispose(disposing);
        }
    }
}
