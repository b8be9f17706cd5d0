namespace Vmm.Benchmarks;

/// <summary>Pre-allocated signals posted to the remote endpoint; each post is one call.</summary>
internal sealed class PostedSignals : RemoteContender
{
    private readonly Signal[][] _pools;
    private readonly Signal _last;

    internal PostedSignals(int producers) : base(producers)
    {
        _pools = [.. Enumerable.Range(0, producers).Select(_ => Signal.CreatePool())];
        _last = new Signal(AllHandled);
    }

    protected override void Send(int producer, long count)
    {
        RemoteEndpoint remote = Reactor.Remote;
        Signal[] pool = _pools[producer];
        for (long i = 0; i < count; i++)
        {
            SpinWait wait = default;
            while (!remote.Post(pool[i % pool.Length])) wait.SpinOnce(sleep1Threshold: -1);
        }
    }

    protected override void SendLast() => Reactor.Remote.Post(_last);
}

/// <summary>One doorbell rung by all; rings before the handler runs are one call of it.</summary>
internal sealed class RungDoorbell : RemoteContender
{
    private readonly Doorbell _bell;
    private readonly Signal _last;
    private long _calls;

    internal RungDoorbell(int producers) : base(producers)
    {
        _bell = Reactor.Remote.CreateDoorbell(_ => _calls++);
        _last = new Signal(AllHandled);
    }

    protected override void Send(int producer, long count)
    {
        for (long i = 0; i < count; i++) _bell.Ring();
    }

    protected override void SendLast() => Reactor.Remote.Post(_last);
}

/// <summary>Calls whose answer the caller waits for.</summary>
internal sealed class Invoked(int producers) : RemoteContender(producers)
{
    private long _calls;

    protected override void Send(int producer, long count)
    {
        Func<IReactor, long> call = _ => _calls++;
        for (long i = 0; i < count; i++) Reactor.Remote.Invoke(call);
    }

    protected override void SendLast() => AllHandled();
}
