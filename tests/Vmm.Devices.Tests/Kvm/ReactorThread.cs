using Vmm.Events;

namespace Vmm.Devices.Tests.Kvm;

/// <summary>A reactor that runs on a thread of its own until it is disposed.</summary>
internal sealed class ReactorThread : IDisposable
{
    private readonly Reactor _reactor = new();
    private readonly CancellationTokenSource _stop = new();
    private readonly Thread _thread;

    internal ReactorThread()
    {
        _thread = new Thread(() =>
        {
            _reactor.Run(_stop.Token);
            _reactor.Dispose();
        })
        { IsBackground = true };
        _thread.Start();
    }

    internal RemoteEndpoint Remote => _reactor.Remote;

    public void Dispose()
    {
        _stop.Cancel();
        Assert.True(_thread.Join(KvmGuest.Watchdog));
        _stop.Dispose();
    }
}
