namespace Vmm.Events;

/// <summary>
/// A reactor and the thread that runs it, named after the reactor. Every member may be called from any thread; those that wait must
/// not be called on the reactor's own.
/// </summary>
public sealed class ReactorThread : IDisposable
{
    private enum Phase { Made, Running, Disposed }

    private readonly Thread _thread;
    private readonly int? _cpu;
    private readonly CancellationTokenSource _stop = new();
    private readonly TaskCompletionSource _began = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lock _phaseLock = new();
    private Phase _phase;

    /// <summary>Makes a reactor whose thread does not run yet. What is posted to it waits.</summary>
    /// <param name="options">How the reactor behaves; null for the defaults.</param>
    /// <exception cref="KernelException">The process has no descriptor left.</exception>
    public ReactorThread(ReactorOptions? options = null)
    {
        Reactor = new Reactor(options);
        _cpu = Reactor.Options.Cpu;
        // A background thread: the process may end while it runs. A program that must go on serving waits for Completion.
        _thread = new Thread(RunToTheEnd) { Name = Reactor.Name, IsBackground = true };
    }

    /// <summary>The reactor, which belongs to its thread: for use in what is posted to <see cref="Remote"/>.</summary>
    public Reactor Reactor { get; }

    /// <summary>The reactor's and the thread's name. The kernel shows its first 15 bytes.</summary>
    public string Name => Reactor.Name;

    /// <summary>How other threads reach the reactor.</summary>
    public RemoteEndpoint Remote => Reactor.Remote;

    /// <summary>Ends when the thread has; with the failure that stopped the reactor, if one did.</summary>
    public Task Completion => _ended.Task;

    /// <summary>Starts the thread, and returns when it runs the reactor.</summary>
    /// <exception cref="InvalidOperationException">It was started before.</exception>
    /// <exception cref="KernelException">The CPU that the options name is not there, or not for this process.</exception>
    /// <exception cref="OutOfMemoryException">The host gives this process no further thread.</exception>
    public void Start()
    {
        lock (_phaseLock)
        {
            ObjectDisposedException.ThrowIf(_phase == Phase.Disposed, this);
            if (_phase != Phase.Made) throw new InvalidOperationException($"the thread of reactor '{Name}' was started before");
            // In this order: a thread that the host refuses is not waited for.
            _thread.Start();
            _phase = Phase.Running;
        }
        _began.Task.GetAwaiter().GetResult();
    }

    /// <summary>Asks the reactor to stop, and does not wait. A handler may.</summary>
    public void RequestStop()
    {
        lock (_phaseLock)
        {
            if (_phase != Phase.Disposed) _stop.Cancel();
        }
    }

    /// <summary>Stops the reactor and waits for its thread. What it watched stays open, to be taken apart or disposed.</summary>
    /// <exception cref="InvalidOperationException">Called on the reactor's own thread.</exception>
    /// <exception cref="Exception">The failure that had stopped the reactor before, as it was thrown.</exception>
    public void Stop()
    {
        RequestStop();
        Join();
        if (_ended.Task.IsFaulted) _ended.Task.GetAwaiter().GetResult();
    }

    /// <summary>
    /// Stops the reactor, waits for its thread and closes what the reactor watched. A failure is left to <see cref="Completion"/>.
    /// </summary>
    /// <exception cref="InvalidOperationException">Called on the reactor's own thread.</exception>
    public void Dispose()
    {
        RequestStop();
        Join();
        lock (_phaseLock)
        {
            if (_phase == Phase.Disposed) return;
            if (_phase == Phase.Made)
            {
                Reactor.GiveUpOwnership();
                _ended.TrySetResult();
            }
            _phase = Phase.Disposed;
            Reactor.Dispose();
            _stop.Dispose();
        }
    }

    private void Join()
    {
        if (Thread.CurrentThread == _thread)
            throw new InvalidOperationException(
                $"this is the thread of reactor '{Name}', which cannot wait for its own end: request the stop");
        bool wasStarted;
        lock (_phaseLock) wasStarted = _phase == Phase.Running;
        if (wasStarted) _thread.Join();
    }

    private void RunToTheEnd()
    {
        try
        {
            if (_cpu is { } cpu) Processors.PinCallingThread(cpu, $"reactor '{Name}'");
            // Signalled when this thread owns the reactor, so that the starter can rely on it.
            Reactor.Run(() => _began.SetResult(), _stop.Token);
            _ended.SetResult();
        }
        catch (Exception exception)
        {
            // The failure of a run is reported by Completion. The failure of a start is also thrown to the starter, after Completion was
            // set.
            _ended.SetException(exception);
            _ = _ended.Task.Exception;
            _began.TrySetException(exception);
        }
    }
}
