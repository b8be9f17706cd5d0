using System.Diagnostics;
using Vmm.Events;

namespace Vmm.Devices;

// The guest's statistics (virtio 1.2 § 5.5.6.3): the driver fills a buffer, the device keeps it until it wants the next.
public sealed partial class BalloonDevice
{
    /// <summary>Most entries looked at: more than any version of the specification has.</summary>
    private const int StatisticsMax = 64;

    private const int NoReport = -1;

    private readonly Lock _askLock = new();
    private readonly List<TaskCompletionSource<IReadOnlyDictionary<BalloonStatistic, ulong>>> _asked = [];
    private readonly BalloonStatisticEntry[] _reported = new BalloonStatisticEntry[StatisticsMax];
    private int _reportedCount = NoReport;
    private StatisticsWorker? _statistics;

    /// <summary>
    /// What the guest reported last: it is asked anew whenever the balloon's size changes. Null if it reported nothing yet. Any thread.
    /// </summary>
    public IReadOnlyDictionary<BalloonStatistic, ulong>? LastStatistics
    {
        get { lock (_askLock) return _reportedCount == NoReport ? null : Reported(); }
    }

    /// <summary>Asks the guest for its statistics, and waits until it answers. Any thread.</summary>
    /// <param name="cancellation">Gives up; a guest with no driver for the balloon never answers.</param>
    public async Task<IReadOnlyDictionary<BalloonStatistic, ulong>> ReadStatisticsAsync(CancellationToken cancellation)
    {
        TaskCompletionSource<IReadOnlyDictionary<BalloonStatistic, ulong>> answer = new(TaskCreationOptions.RunContinuationsAsynchronously);
        lock (_askLock)
        {
            _asked.Add(answer);
            _statistics?.Ask();
        }
        try
        {
            return await answer.Task.WaitAsync(cancellation);
        }
        finally
        {
            lock (_askLock) _asked.Remove(answer);
        }
    }

    private bool IsAsked
    {
        get { lock (_askLock) return _asked.Count > 0; }
    }

    private void Take(ChainReader reader)
    {
        lock (_askLock)
        {
            for (_reportedCount = 0; _reportedCount < StatisticsMax
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

    /// <summary>Keeps the driver's buffer until the next statistics are wanted, and gives it back then: the driver fills it anew.</summary>
    private sealed class StatisticsWorker : QueueWorker
    {
        private readonly BalloonDevice _balloon;
        private DescriptorChain? _kept;
        private bool _areStale;
        /// <summary>The buffer that is popped next was read before a pause.</summary>
        private bool _wasRead;

        internal StatisticsWorker(BalloonDevice balloon, QueueContext context) : base(context)
        {
            _balloon = balloon;
            _wasRead = balloon._statisticsWereRead;
            balloon._statisticsWereRead = false;
            lock (balloon._askLock) balloon._statistics = this;
        }

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
                    _balloon.Take(chain.Readable);
                    _areStale = false;
                }
                _wasRead = false;
            }
            if (_kept is not { } filled || !(_areStale || _balloon.IsAsked)) return;
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
            lock (_balloon._askLock) _balloon._statistics = null;
            base.Dispose(disposing);
        }
    }

    private static void GiveBack(DescriptorChain chain)
    {
        // It was kept until the next one is wanted, on purpose: that is no latency.
        if (chain.PoppedAt != 0) chain.PoppedAt = Stopwatch.GetTimestamp();
        chain.Queue.Push(chain, 0);
    }
}
