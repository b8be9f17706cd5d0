namespace Vmm.Benchmarks;

/// <summary>A reactor on a thread of its own, and n threads that send to it.</summary>
internal abstract class RemoteContender : IContender
{
    private readonly CancellationTokenSource _stop = new();
    private readonly Thread _reactorThread;
    private readonly Thread[] _helpers;
    private readonly Barrier _gate;
    private readonly ManualResetEventSlim _allHandled = new();
    private readonly int _producers;
    private long _share;
    private volatile bool _disposing;

    protected RemoteContender(int producers)
    {
        _producers = producers;
        Reactor = new Reactor();
        _gate = new Barrier(producers);
        _reactorThread = Start(() => Reactor.Run(_stop.Token));
        // Until that thread runs it, the reactor belongs to this one, which then must not wait for it.
        using ManualResetEventSlim runs = new();
        Reactor.Remote.Post(_ => runs.Set());
        runs.Wait();
        _helpers = new Thread[producers - 1];
        for (int i = 0; i < _helpers.Length; i++)
        {
            int producer = i + 1;
            _helpers[i] = Start(() => Help(producer));
        }
    }

    public int Quantum => _producers;

    protected Reactor Reactor { get; }

    public void Run(long operations)
    {
        _share = operations / _producers;
        _allHandled.Reset();
        _gate.SignalAndWait();
        Send(producer: 0, _share);
        _gate.SignalAndWait();
        SendLast();
        _allHandled.Wait();
    }

    public virtual void Dispose()
    {
        _disposing = true;
        _gate.SignalAndWait();
        foreach (Thread helper in _helpers) helper.Join();
        _stop.Cancel();
        _reactorThread.Join();
        Reactor.Dispose();
        _stop.Dispose();
        _gate.Dispose();
        _allHandled.Dispose();
    }

    /// <summary>Sends so many messages, on one of the threads.</summary>
    protected abstract void Send(int producer, long count);

    /// <summary>Sends, after all others, the message whose handler calls <see cref="AllHandled"/>.</summary>
    protected abstract void SendLast();

    protected void AllHandled() => _allHandled.Set();

    private void Help(int producer)
    {
        while (true)
        {
            _gate.SignalAndWait();
            if (_disposing) return;
            Send(producer, _share);
            _gate.SignalAndWait();
        }
    }

    private static Thread Start(ThreadStart body)
    {
        Thread thread = new(body) { IsBackground = true };
        thread.Start();
        return thread;
    }
}
