using Microsoft.Extensions.Logging;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices.VhostUser;

/// <summary>
/// Any number of devices, each behind a socket of its own, on one or several reactors of one process. Add devices, start, stop; from one thread.
/// </summary>
public sealed class VhostUserServer : IDisposable
{
    /// <summary>Longest wait at a stop for what is in flight in the host's kernel: a disk that hangs must not keep the process.</summary>
    private static readonly TimeSpan StopPatience = TimeSpan.FromSeconds(10);

    private readonly VhostUserServerOptions _options;
    private readonly Reactor[] _reactors;
    private readonly List<Thread> _threads = [];
    private readonly List<VhostUserBackend> _backends = [];
    private readonly CancellationTokenSource _stop = new();
    private readonly TaskCompletionSource _failed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private bool _disposed;

    /// <summary>Makes a server without devices.</summary>
    /// <exception cref="ArgumentException">An option is out of its range.</exception>
    public VhostUserServer(VhostUserServerOptions? options = null)
    {
        _options = options ?? new VhostUserServerOptions();
        _options.Validate();
        _reactors = [.. Enumerable.Range(0, _options.Reactors).Select(i => new Reactor(new ReactorOptions
        {
            Name = $"reactor{i}",
            OnHandlerFailure = failure => _options.Logger.LogError(failure.Exception, "handler of {Source} failed", failure.Source),
        }))];
    }

    /// <summary>The devices served, in the order they were added.</summary>
    public IReadOnlyList<VhostUserBackend> Backends => _backends;

    /// <summary>Completes, with what happened, if a reactor's thread ends before the server is stopped.</summary>
    public Task Failed => _failed.Task;

    /// <summary>Listens for front-ends of a device. Before <see cref="Start"/>.</summary>
    /// <param name="device">Taken over: disposed with the server.</param>
    /// <param name="socketPath">Where to listen; at most 107 bytes.</param>
    /// <exception cref="KernelException">Somebody listens there, or the directory can't be written.</exception>
    public VhostUserBackend Add(VirtioDevice device, string socketPath)
    {
        ArgumentNullException.ThrowIfNull(device);
        if (_threads.Count > 0) throw new InvalidOperationException("the server runs: add devices before it is started");
        device.Logger = _options.Logger;
        int first = _backends.Count % _reactors.Length;
        bool spread = device.QueuesAreIndependent && device.Queues.Count > 1 && _reactors.Length > 1;
        VhostUserBackend backend = new(device, socketPath, _reactors[first], new VhostUserBackendOptions
        {
            Logger = _options.Logger,
            RequireSealed = _options.RequireSealed,
            MeasureLatency = _options.MeasureLatency,
            QueueReactors = spread ? [.. device.Queues.Select((_, queue) => _reactors[(first + queue) % _reactors.Length].Remote)] : [],
        });
        _backends.Add(backend);
        return backend;
    }

    /// <summary>Starts the reactors' threads.</summary>
    public void Start()
    {
        for (int i = 0; i < _reactors.Length; i++)
        {
            int number = i;
            Thread thread = new(() => RunReactor(number)) { Name = _reactors[i].Name };
            _threads.Add(thread);
            thread.Start();
        }
    }

    /// <summary>Ends every connection once its rings are quiet, removes the sockets, stops the threads and disposes the devices.</summary>
    public void Dispose()
    {
        if (_disposed) return;
        _disposed = true;
        if (_threads.Count == 0)
        {
            foreach (VhostUserBackend backend in _backends) backend.Dispose();
            foreach (Reactor reactor in _reactors) reactor.Dispose();
        }
        else
        {
            StopRunning();
        }
        foreach (VhostUserBackend backend in _backends) backend.Device.Dispose();
        _stop.Dispose();
    }

    private void StopRunning()
    {
        Task[] stops = [.. _backends.Select(StopAsync)];
        if (!Task.WaitAll(stops, StopPatience))
            _options.Logger.LogError("{Count} devices still have requests in flight: stopping without them", stops.Count(stop => !stop.IsCompleted));
        _stop.Cancel();
        foreach (Thread thread in _threads) thread.Join();
    }

    private static Task StopAsync(VhostUserBackend backend)
    {
        TaskCompletionSource stopped = new();
        try
        {
            backend.Remote.Post(_ => backend.Stop(stopped.SetResult));
        }
        catch (ReactorStoppedException)
        {
            stopped.SetResult();
        }
        return stopped.Task;
    }

    private void RunReactor(int number)
    {
        try
        {
            if (number < _options.Cpus.Count) ThreadAffinity.PinCallingThread(_options.Cpus[number]);
            _reactors[number].Run(_stop.Token);
        }
        catch (Exception exception)
        {
            _failed.TrySetException(exception);
        }
        finally
        {
            _reactors[number].Dispose();
        }
    }
}
