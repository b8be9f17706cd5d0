namespace Vmm.Benchmarks;

/// <summary>The common method: push to a queue of many producers, then write to the reactor's eventfd, every time.</summary>
internal sealed class WriteAlways : RemoteContender
{
    private readonly RemoteQueue _queue = new();
    private readonly EventFd _wake = new();
    private readonly Signal[][] _pools;
    private readonly Signal _last;

    internal WriteAlways(int producers) : base(producers)
    {
        _pools = [.. Enumerable.Range(0, producers).Select(_ => Signal.CreatePool())];
        _last = new Signal(AllHandled);
        Reactor.Remote.Invoke(reactor => reactor.Add(Interest.Readable.WithFd(_wake).WithHandler(Drain)));
    }

    protected override void Send(int producer, long count)
    {
        Signal[] pool = _pools[producer];
        for (long i = 0; i < count; i++) Push(pool[i % pool.Length]);
    }

    protected override void SendLast() => Push(_last);

    private void Push(Signal signal)
    {
        SpinWait wait = default;
        while (Interlocked.Exchange(ref signal.Queued, 1) != 0) wait.SpinOnce(sleep1Threshold: -1);
        _queue.Push(signal);
        FiringPattern.Fire(_wake.Number);
    }

    private void Drain(EventFd fd)
    {
        fd.TryRead(out _);
        while (_queue.Pop() is Signal signal)
        {
            Interlocked.Exchange(ref signal.Queued, 0);
            signal.Handle();
        }
    }
}
