using Vmm.Events;

namespace Vmm.Devices;

/// <summary>A reactor on a thread of its own, from its making to its disposal.</summary>
internal sealed class HostReactor : IDisposable
{
    private readonly Reactor _reactor;
    private readonly Thread _thread;
    private readonly CancellationTokenSource _stop = new();
    private ReactorStatistics _last;
    private bool _disposed;

    internal HostReactor(ReactorOptions options)
    {
        _reactor = new Reactor(options);
        _thread = new Thread(RunToEnd) { Name = options.Name, IsBackground = true };
        _thread.Start();
    }

    internal RemoteEndpoint Remote => _reactor.Remote;

    /// <summary>What it did so far; after its end, what it did.</summary>
    internal ReactorStatistics Statistics
    {
        get
        {
            try
            {
                return Remote.Invoke(_ => _reactor.Statistics);
            }
            catch (ReactorStoppedException)
            {
                _thread.Join();
                return _last;
            }
        }
    }

    public void Dispose()
    {
        if (_disposed) return;
        _disposed = true;
        _stop.Cancel();
        _thread.Join();
        _stop.Dispose();
    }

    private void RunToEnd()
    {
        _reactor.Run(_stop.Token);
        _last = _reactor.Statistics;
        _reactor.Dispose();
    }
}
