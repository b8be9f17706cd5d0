using Microsoft.Extensions.Logging;
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
    private readonly ReactorThread[] _reactors;
    private readonly List<VhostUserBackend> _backends = [];
    private bool _started;
    private bool _disposed;

    /// <summary>Makes a server without devices.</summary>
    /// <exception cref="ArgumentException">An option is out of its range.</exception>
    public VhostUserServer(VhostUserServerOptions? options = null)
    {
        _options = options ?? new VhostUserServerOptions();
        _options.Validate();
        _reactors = [.. Enumerable.Range(0, _options.Reactors).Select(i => new ReactorThread(new ReactorOptions
        {
            Name = $"reactor{i}",
            PollMax = _options.PollMax,
            Cpu = i < _options.Cpus.Count ? _options.Cpus[i] : null,
            OnHandlerFailure = failure => _options.Logger.LogError(failure.Exception, "handler of {Source} failed", failure.Source),
        }))];
    }

    /// <summary>The devices served, in the order they were added.</summary>
    public IReadOnlyList<VhostUserBackend> Backends => _backends;

    /// <summary>Completes, with what happened, if a reactor's thread ends before the server is stopped.</summary>
    public Task Failed => Task.WhenAny(_reactors.Select(reactor => reactor.Completion)).Unwrap();

    /// <summary>Listens for front-ends of a device. Before <see cref="Start"/>.</summary>
    /// <param name="device">Taken over: disposed with the server.</param>
    /// <param name="socketPath">Where to listen; at most 107 bytes.</param>
    /// <exception cref="KernelException">Somebody listens there, or the directory can't be written.</exception>
    public VhostUserBackend Add(VirtioDevice device, string socketPath)
    {
        ArgumentNullException.ThrowIfNull(device);
        if (_started) throw new InvalidOperationException("the server runs: add devices before it is started");
        device.Logger = _options.Logger;
        int first = _backends.Count % _reactors.Length;
        bool spread = device.QueuesAreIndependent && device.Queues.Count > 1 && _reactors.Length > 1;
        VhostUserBackend backend = new(device, socketPath, _reactors[first].Reactor, new VhostUserBackendOptions
        {
            Logger = _options.Logger,
            RequireSealed = _options.RequireSealed,
            MeasureLatency = _options.MeasureLatency,
            QueueReactors = spread ? [.. device.Queues.Select((_, queue) => _reactors[(first + device.QueueGroupOf(queue)) % _reactors.Length].Remote)] : [],
        });
        _backends.Add(backend);
        return backend;
    }

    /// <summary>Starts the reactors' threads.</summary>
    /// <exception cref="KernelException">A processor that was named is not there, or not for this process.</exception>
    public void Start()
    {
        try
        {
            foreach (ReactorThread reactor in _reactors) reactor.Start();
            _started = true;
        }
        catch
        {
            // Without their reactors the listeners go too; only the paths are left.
            foreach (ReactorThread reactor in _reactors) reactor.Dispose();
            foreach (VhostUserBackend backend in _backends) File.Delete(backend.SocketPath);
            _backends.ForEach(backend => backend.Device.Dispose());
            _disposed = true;
            throw;
        }
    }

    /// <summary>Ends every connection once its rings are quiet, removes the sockets, stops the threads and disposes the devices.</summary>
    public void Dispose()
    {
        if (_disposed) return;
        _disposed = true;
        if (_started) StopRunning();
        else foreach (VhostUserBackend backend in _backends) backend.Dispose();
        foreach (ReactorThread reactor in _reactors) reactor.Dispose();
        foreach (VhostUserBackend backend in _backends) backend.Device.Dispose();
    }

    private void StopRunning()
    {
        Task[] stops = [.. _backends.Select(StopAsync)];
        if (!Task.WaitAll(stops, StopPatience))
            _options.Logger.LogError("{Count} devices still have requests in flight: stopping without them", stops.Count(stop => !stop.IsCompleted));
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
}
