using Vmm.Events.Native;

namespace Vmm.Benchmarks;

/// <summary>
/// The shape of a subscriber manager with three maps: descriptor to subscriber id, id to subscriber, and descriptor to the descriptors
/// that are watched. A subscriber finds out by comparison which of its descriptors it was.
/// </summary>
internal sealed class ThreeDictionaries : IEngine
{
    private const int BatchMax = 1024;
    private readonly EpollPoller _poller = new(BatchMax);
    private readonly Dictionary<int, int> _idOfFd = [];
    private readonly Dictionary<int, EventSubscriber> _subscriberOfId = [];
    private readonly Dictionary<int, EventFd> _watched = [];

    internal ThreeDictionaries(EventFd[] fds, int fdsPerSubscriber)
    {
        for (int first = 0; first < fds.Length; first += fdsPerSubscriber)
        {
            EventFd[] own = fds[first..(first + fdsPerSubscriber)];
            _subscriberOfId.Add(first, new CountingSubscriber(own));
            foreach (EventFd fd in own)
            {
                _idOfFd.Add(fd.Number, first);
                _watched.Add(fd.Number, fd);
                _poller.Add(fd.Number, ReadableBit, (ulong)fd.Number);
            }
        }
    }

    private static uint ReadableBit => Interest.Readable.Bits;

    public int Turn()
    {
        ReadOnlySpan<ReadyEvent> batch = _poller.Wait(timeoutMs: -1);
        foreach (ReadyEvent ready in batch)
        {
            int fd = (int)ready.Data;
            // An event of a descriptor that was removed by an earlier handler of this batch is skipped.
            if (_watched.ContainsKey(fd) && _idOfFd.TryGetValue(fd, out int id)
                && _subscriberOfId.TryGetValue(id, out EventSubscriber? subscriber))
                subscriber.Process(fd, ready.Events);
        }
        return batch.Length;
    }

    public void Dispose()
    {
        _poller.Dispose();
        foreach (EventFd fd in _watched.Values) fd.Dispose();
    }
}

/// <summary>What such a manager calls.</summary>
internal abstract class EventSubscriber
{
    internal abstract void Process(int fd, uint ready);
}

/// <summary>Compares descriptor numbers, reads, counts.</summary>
internal sealed class CountingSubscriber(EventFd[] fds) : EventSubscriber
{
    private readonly int[] _numbers = [.. fds.Select(fd => fd.Number)];
    private long _handled;

    internal override void Process(int fd, uint ready)
    {
        for (int i = 0; i < _numbers.Length; i++)
        {
            if (_numbers[i] != fd) continue;
            if (fds[i].TryRead(out _)) _handled++;
            return;
        }
    }
}
