using Microsoft.Extensions.Logging;
using Vmm.Events;

namespace Vmm.Devices.VhostUser;

/// <summary>
/// Any number of devices, each behind a socket of its own, on one or several reactors of one process. Add devices, start, stop; from one
/// thread.
/// </summary>
public sealed class VhostUserServer : IDisposable
{
    /// <summary>Longest wait at a stop for what is in flight in the host's kernel: a disk that hangs must not keep the process.</summary>
    private static readonly TimeSpan StopPatience = TimeSpan.FromSeconds(10);

    private static readonly DeviceSetting OverVhostUser = new() { OverVhostUser = true };

    private readonly VhostUserServerOptions _options;
    private readonly ReactorGroup _reactors;
    private readonly MappingBudget _mappings;
    private readonly List<VhostUserBackend> _backends = [];
    private readonly List<(DeviceSpec Spec, VhostUserBackend Backend)> _described = [];
    /// <summary>To what is on the host's side of the devices.</summary>
    private readonly List<IDisposable> _connections = [];
    private bool _started;
    private bool _disposed;

    /// <summary>Makes a server without devices.</summary>
    /// <exception cref="ArgumentException">An option is out of its range.</exception>
    public VhostUserServer(VhostUserServerOptions? options = null)
    {
        _options = options ?? new VhostUserServerOptions();
        if (_options.Failures().FirstOrDefault() is { } failure) throw new ArgumentException(failure);
        _mappings = new MappingBudget(_options.MappedBytesMax);
        _reactors = new ReactorGroup(_options.Reactors, i => new ReactorOptions
        {
            Name = $"reactor{i}",
            PollMax = _options.PollMax,
            Cpu = i < _options.Cpus.Count ? _options.Cpus[i] : null,
            OnHandlerFailure = failure => _options.Logger.LogError(failure.Exception, "handler of {Source} failed", failure.Source),
        });
    }

    /// <summary>The devices served, in the order they were added.</summary>
    public IReadOnlyList<VhostUserBackend> Backends => _backends;

    /// <summary>Completes, with what happened, if a reactor's thread ends before the server is stopped.</summary>
    public Task Failed => Task.WhenAny(_reactors.Select(reactor => reactor.Completion)).Unwrap();

    /// <summary>Listens for front-ends of a device. Before <see cref="Start"/>.</summary>
    /// <param name="device">Taken over: disposed with the server.</param>
    /// <param name="socketPath">Where to listen; at most 107 bytes.</param>
    /// <exception cref="KernelException">Another socket listens there, or the directory can't be written.</exception>
    public VhostUserBackend Add(VirtioDevice device, string socketPath) =>
        Add(device, (reactor, options) => new VhostUserBackend(device, socketPath, reactor, options));

    /// <summary>Takes front-ends of a device at a socket that another process made. Before <see cref="Start"/>.</summary>
    /// <param name="device">Taken over: disposed with the server.</param>
    /// <param name="listener">A Unix stream socket that listens; taken over. Its path is not removed.</param>
    /// <exception cref="ArgumentException">The descriptor is no such socket.</exception>
    public VhostUserBackend Add(VirtioDevice device, OwnedFd listener) =>
        Add(device, (reactor, options) => new VhostUserBackend(device, listener, reactor, options));

    /// <summary>
    /// Opens a device that is described by a spec of its kind, and listens for its front-ends. Its endpoints on the host are connected by
    /// <see cref="Start"/>. Before it.
    /// </summary>
    /// <param name="name">Names the device: <c>disk0</c>.</param>
    /// <param name="spec">Describes it, as on the command line.</param>
    /// <param name="socketPath">Where to listen; at most 107 bytes.</param>
    /// <exception cref="ArgumentException">The spec has failures, or does not fit what was opened.</exception>
    /// <exception cref="IOException">Something can't be opened; the message says what and why.</exception>
    /// <exception cref="KernelException">Another socket listens there, or the directory can't be written.</exception>
    public VhostUserBackend Add(string name, DeviceSpec spec, string socketPath) => Add(name, spec, device => Add(device, socketPath));

    /// <summary>Opens a device that is described by a spec, and takes its front-ends at a socket that another process made.</summary>
    /// <inheritdoc cref="Add(string, DeviceSpec, string)"/>
    /// <param name="listener">A Unix stream socket that listens; taken over. Its path is not removed.</param>
    /// <param name="name"><inheritdoc cref="Add(string, DeviceSpec, string)" path="/param[@name='name']"/></param>
    /// <param name="spec"><inheritdoc cref="Add(string, DeviceSpec, string)" path="/param[@name='spec']"/></param>
    public VhostUserBackend Add(string name, DeviceSpec spec, OwnedFd listener) => Add(name, spec, device => Add(device, listener));

    private VhostUserBackend Add(string name, DeviceSpec spec, Func<VirtioDevice, VhostUserBackend> add)
    {
        ArgumentNullException.ThrowIfNull(spec);
        VirtioDevice device = spec.Open(name, OverVhostUser);
        try
        {
            VhostUserBackend backend = add(device);
            _described.Add((spec, backend));
            return backend;
        }
        catch
        {
            device.Dispose();
            throw;
        }
    }

    private VhostUserBackend Add(VirtioDevice device, Func<Reactor, VhostUserBackendOptions, VhostUserBackend> create)
    {
        ArgumentNullException.ThrowIfNull(device);
        if (_started) throw new InvalidOperationException("the server runs: add devices before it is started");
        device.Logger = _options.Logger;
        DeviceReactors reactors = DeviceReactors.Of(device, _backends.Count, _reactors);
        VhostUserBackend backend = create(reactors.Main.Reactor, new VhostUserBackendOptions
        {
            Logger = _options.Logger,
            AllowUnsealed = _options.AllowUnsealed,
            Mappings = _mappings,
            MeasureLatency = _options.MeasureLatency,
            QueueReactors = reactors.QueueRemotes,
        });
        _backends.Add(backend);
        return backend;
    }

    /// <summary>Whether every reactor answers within a time: what a watchdog asks.</summary>
    /// <param name="patience">How long to wait for all of them.</param>
    public bool IsAlive(TimeSpan patience) => _reactors.IsAlive(patience);

    /// <summary>Starts the reactors' threads, and connects described devices to their endpoints on the host.</summary>
    /// <exception cref="KernelException">A processor that was named is not there, or not for this process.</exception>
    /// <exception cref="IOException">An endpoint can't be opened; the message says what and why.</exception>
    public void Start()
    {
        StartReactors();
        foreach ((DeviceSpec spec, VhostUserBackend backend) in _described)
        {
            if (spec.Connect(backend.Device, backend.Remote, _options.Announce) is { } connection) _connections.Add(connection);
        }
    }

    private void StartReactors()
    {
        try
        {
            _reactors.Start();
            _started = true;
        }
        catch
        {
            // Without their reactors the listeners go too; only the paths are left.
            foreach (VhostUserBackend backend in _backends) backend.RemoveSocket();
            _reactors.Dispose();
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
        _connections.ForEach(connection => connection.Dispose());
        if (_started) StopRunning();
        else foreach (VhostUserBackend backend in _backends) backend.Dispose();
        _reactors.Dispose();
        foreach (VhostUserBackend backend in _backends) backend.Device.Dispose();
    }

    private void StopRunning()
    {
        Task[] stops = [.. _backends.Select(StopAsync)];
        if (!Task.WaitAll(stops, StopPatience))
            _options.Logger.LogError("{Count} devices still have requests in flight: stopping without them",
                stops.Count(stop => !stop.IsCompleted));
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
