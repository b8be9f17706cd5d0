using Vmm.Devices;

namespace Vmm.Benchmarks;

/// <summary>A device takes chains of n descriptors from a queue and gives them back.</summary>
internal abstract class QueueComparison(bool packed) : Comparison
{
    internal override string Suite => "queue";

    internal override string Description =>
        "one chain of n descriptors is popped, walked into vectors and pushed; published every 16 chains. "
        + "The baseline is the same walk in C";

    internal override IReadOnlyList<int> Sizes => [1, 4, 16, 64];

    // A chain of one buffer takes a shorter path than others.
    internal override IReadOnlyList<int> WarmUpSizes => [1, 4];

    internal override IReadOnlyList<Variant> Variants { get; } =
    [
        new("c-walk", n => new QueueBaseline(packed, n)),
        new("vmm", n => new QueueContender(packed, n, measureLatency: false)),
        new("vmm-latency", n => new QueueContender(packed, n, measureLatency: true)),
    ];

    private sealed class QueueContender : IContender, IVirtioInterrupt
    {
        private readonly RepeatingDriver _driver;
        private readonly VirtQueue _queue;

        internal QueueContender(bool packed, int length, bool measureLatency)
        {
            _driver = new RepeatingDriver(packed, length);
            QueueConfiguration configuration = _driver.Queue.Configuration() with { MeasureLatency = measureLatency };
            if (!VirtQueue.TryCreate(configuration, _driver.Memory, this, out VirtQueue? queue, out GuestFault fault))
                throw new InvalidOperationException(fault.Text);
            _queue = queue;
        }

        public int Quantum => RepeatingDriver.Batch;

        public void Run(long operations)
        {
            long done = 0;
            while (done < operations)
            {
                _driver.Rearm();
                while (_queue.TryPop(out DescriptorChain? chain))
                {
                    _queue.Push(chain, 64);
                    done++;
                }
                _queue.Publish();
            }
            if (done != operations) throw new InvalidOperationException($"served {done} of {operations} chains: {_queue.FirstFault.Text}");
        }

        public void Dispose()
        {
            _queue.Dispose();
            _driver.Dispose();
        }

        public void SignalQueue(int queueIndex)
        {
        }

        public void SignalConfig()
        {
        }

        public void SignalNeedsReset() => throw new InvalidOperationException(_queue.FirstFault.Text);
    }
}

/// <summary>On a split ring.</summary>
internal sealed class SplitQueueComparison() : QueueComparison(packed: false)
{
    internal override string Group => "queue-split";
}

/// <summary>On a packed ring.</summary>
internal sealed class PackedQueueComparison() : QueueComparison(packed: true)
{
    internal override string Group => "queue-packed";
}
