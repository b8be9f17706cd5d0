using Vmm.Devices;

namespace Vmm.Benchmarks;

/// <summary>A device takes chains of n descriptors from a queue and gives them back.</summary>
internal static class QueueComparisons
{
    internal static Comparison Split { get; } = Of("queue-split", packed: false);

    internal static Comparison Packed { get; } = Of("queue-packed", packed: true);

    // A chain of one buffer takes a shorter path than others.
    private static Comparison Of(string group, bool packed) => new("queue", group,
        "one chain of n descriptors is popped, walked into vectors and pushed; published every 16 chains. "
        + "The baseline is the same walk in C",
        [1, 4, 16, 64],
        [
            new("c-walk", n => new QueueBaseline(packed, n)),
            new("vmm", n => new QueueContender(packed, n, measureLatency: false)),
            new("vmm-latency", n => new QueueContender(packed, n, measureLatency: true)),
        ])
    { WarmUpSizes = [1, 4] };

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
