using Vmm.Events;

namespace Vmm.Devices;

// The guest's statistics (virtio 1.2 § 5.5.6.3): the driver fills a buffer, the device keeps it until it wants the next.
public sealed partial class BalloonDevice
{
    /// <summary>Most entries looked at: more than any version of the specification has.</summary>
    private const int StatisticsMax = 64;

    private const int NothingTold = -1;

    private readonly Lock _askLock = new();
    private readonly List<TaskCompletionSource<IReadOnlyDictionary<BalloonStatistic, ulong>>> _asked = [];
    private readonly BalloonStatisticEntry[] _told = new BalloonStatisticEntry[StatisticsMax];
    private int _toldCount = NothingTold;
    private DescriptorChain? _kept;
    private bool _areStale;
    private Doorbell? _ask;

    /// <summary>What the guest told last: it is asked anew whenever the balloon's size changes. Null if it told nothing yet. Any thread.</summary>
    public IReadOnlyDictionary<BalloonStatistic, ulong>? LastStatistics
    {
        get { lock (_askLock) return _toldCount == NothingTold ? null : Told(); }
    }

    /// <summary>Asks the guest for its statistics, and waits until it answers. Any thread.</summary>
    /// <param name="cancellation">Gives up; a guest with no driver for the balloon never answers.</param>
    public async Task<IReadOnlyDictionary<BalloonStatistic, ulong>> ReadStatisticsAsync(CancellationToken cancellation)
    {
        TaskCompletionSource<IReadOnlyDictionary<BalloonStatistic, ulong>> answer = new(TaskCreationOptions.RunContinuationsAsynchronously);
        lock (_askLock)
        {
            _asked.Add(answer);
            _ask?.TryRing();
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

    private void StartStatistics(DeviceActivation activation)
    {
        lock (_askLock) _ask = activation.Remote.CreateDoorbell(_ => AskDriver());
    }

    private void ForgetStatistics()
    {
        lock (_askLock) _ask = null;
    }

    private bool IsAsked
    {
        get { lock (_askLock) return _asked.Count > 0; }
    }

    /// <summary>Gives the kept buffer back: the driver fills it anew.</summary>
    private void AskDriver()
    {
        if (_kept is not { } chain || !(_areStale || IsAsked)) return;
        _kept = null;
        _areStale = false;
        chain.Queue.Push(chain, 0);
        chain.Queue.Publish();
    }

    private void TakeStatistics(VirtQueue queue)
    {
        while (queue.TryPop(out DescriptorChain? chain))
        {
            // A driver has one such buffer. What more there is comes back at once.
            if (_kept is { } before) queue.Push(before, 0);
            _kept = chain;
            // Whether it is the driver's first or one that was asked for: it was filled just now.
            Hear(chain.Readable);
        }
    }

    private void Hear(ChainReader reader)
    {
        lock (_askLock)
        {
            for (_toldCount = 0; _toldCount < StatisticsMax && reader.TryRead(out BalloonStatisticEntry entry); _toldCount++) _told[_toldCount] = entry;
            if (_asked.Count == 0) return;
            Dictionary<BalloonStatistic, ulong> statistics = Told();
            foreach (TaskCompletionSource<IReadOnlyDictionary<BalloonStatistic, ulong>> answer in _asked) answer.TrySetResult(statistics);
            _asked.Clear();
        }
    }

    /// <summary>What was told last, for whoever asks: nothing is made for those who don't. Under the lock; of a tag told twice, the last counts.</summary>
    private Dictionary<BalloonStatistic, ulong> Told()
    {
        Dictionary<BalloonStatistic, ulong> statistics = [];
        foreach (BalloonStatisticEntry entry in _told.AsSpan(0, _toldCount)) statistics[entry.Tag] = entry.Value;
        return statistics;
    }

    /// <summary>The driver changed its balloon, and with it all that it told of its memory.</summary>
    private void RenewStatistics()
    {
        _areStale = true;
        AskDriver();
    }

    private void StopStatistics(VirtQueue queue)
    {
        if (_kept is { } chain) queue.Push(chain, 0);
        _kept = null;
    }
}
