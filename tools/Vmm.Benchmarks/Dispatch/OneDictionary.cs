using Vmm.Events.Native;

namespace Vmm.Benchmarks;

/// <summary>The shape of a poll with tokens: the loop looks the handler of a token up in one map.</summary>
internal sealed class OneDictionary : IEngine
{
    private const int BatchMax = 1024;
    private readonly EpollPoller _poller = new(BatchMax);
    private readonly Dictionary<ulong, (EventSubscriber Subscriber, EventFd Fd)> _ofToken = [];

    internal OneDictionary(EventFd[] fds, int fdsPerSubscriber)
    {
        CountingSubscriber? subscriber = null;
        for (int i = 0; i < fds.Length; i++)
        {
            if (i % fdsPerSubscriber == 0) subscriber = new CountingSubscriber(fds[i..(i + fdsPerSubscriber)]);
            ulong token = (ulong)i;
            _ofToken.Add(token, (subscriber!, fds[i]));
            _poller.Add(fds[i].Number, Interest.Readable.Bits, token);
        }
    }

    public int Turn()
    {
        ReadOnlySpan<ReadyEvent> batch = _poller.Wait(timeoutMs: -1);
        foreach (ReadyEvent ready in batch)
        {
            if (_ofToken.TryGetValue(ready.Data, out (EventSubscriber Subscriber, EventFd Fd) found))
                found.Subscriber.Process(found.Fd.Number, ready.Events);
        }
        return batch.Length;
    }

    public void Dispose()
    {
        _poller.Dispose();
        foreach ((_, EventFd fd) in _ofToken.Values) fd.Dispose();
    }
}
