namespace Vmm.Events.Tests.Support;

/// <summary>A reactor that a thread runs until the test is over.</summary>
internal sealed class RunningReactor : IDisposable
{
    private readonly CancellationTokenSource _stop = new();
    private readonly Thread _thread;
    private readonly ManualResetEventSlim _began = new();

    /// <param name="options">How it behaves; null for defaults whose failures are kept here.</param>
    internal RunningReactor(ReactorOptions? options = null)
    {
        Reactor = new Reactor(options ?? new ReactorOptions { OnHandlerFailure = Failures.Add });
        _thread = new Thread(() => Ended = Record.Exception(() => Reactor.Run(_began.Set, _stop.Token))) { IsBackground = true };
        _thread.Start();
        // Until another thread runs it, the reactor is its maker's, who must not wait for it.
        Assert.True(_began.Wait(ReactorSuite.Patience), "the reactor does not run");
    }

    internal Reactor Reactor { get; }

    internal RemoteEndpoint Remote => Reactor.Remote;

    internal List<HandlerFailure> Failures { get; } = [];

    /// <summary>How the run ended.</summary>
    internal Exception? Ended { get; private set; }

    /// <summary>Stops the reactor and waits for its thread.</summary>
    internal void Stop()
    {
        _stop.Cancel();
        Assert.True(_thread.Join(ReactorSuite.Patience), "the reactor did not stop");
    }

    public void Dispose()
    {
        Stop();
        Reactor.Dispose();
        _stop.Dispose();
        _began.Dispose();
    }
}
