using Microsoft.Extensions.Logging;
using Vmm.Devices.Sandbox;
using Vmm.Events;

namespace Vmm.Devices.VhostUser;

/// <summary>
/// Any number of devices, each behind a socket of its own, on one or several reactors of one process. Devices can be added and removed
/// while it runs.
/// </summary>
/// <remarks>Members are thread-safe, but for <see cref="Start"/>. They wait, so none is for a reactor's thread.</remarks>
public sealed class VhostUserServer : IDisposable
{
    /// <summary>Longest wait at a stop for what is in flight in the host's kernel: a disk that hangs must not keep the process.</summary>
    private static readonly TimeSpan StopPatience = TimeSpan.FromSeconds(10);

    private static readonly DeviceSetting OverVhostUser = new() { OverVhostUser = true };

    private readonly VhostUserServerOptions _options;
    private readonly ReactorGroup _reactors;
    private readonly MappingBudget _mappings;
    /// <summary>Guards what is below.</summary>
    private readonly Lock _changes = new();
    private readonly List<Served> _served = [];
    private readonly HashSet<string> _names = [];
    private readonly HashSet<Task> _removals = [];
    private readonly DeviceMeter _meter;
    /// <summary>Devices added so far: each gets the next reactor.</summary>
    private int _turn;
    private bool _started;
    private bool _isDraining;
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
        _meter = new DeviceMeter(() => All.Select(served => served.Backend.Device));
        _meter.Count("vmm.vhost_user.connections", "{connection}", "Front-ends that connected to a device.",
            () => All.Select(served => (served.Backend.Device.Name, served.Backend.Connections)));
        _meter.Gauge("vmm.vhost_user.connected", "{connection}", "Front-ends that are connected to a device: 0 or 1.",
            () => All.Select(served => (served.Backend.Device.Name, served.Backend.IsConnected ? 1L : 0L)));
    }

    /// <summary>The devices served, in the order they were added.</summary>
    public IReadOnlyList<VhostUserBackend> Backends => [.. All.Select(served => served.Backend)];

    private Served[] All
    {
        get
        {
            lock (_changes) return [.. _served];
        }
    }

    /// <summary>The reactors that serve them.</summary>
    public IReadOnlyList<RemoteEndpoint> Reactors => [.. _reactors.Select(reactor => reactor.Remote)];

    /// <summary>Completes, with what happened, if a reactor's thread ends before the server is stopped.</summary>
    public Task Failed => Task.WhenAny(_reactors.Select(reactor => reactor.Completion)).Unwrap();

    /// <summary>Listens for front-ends of a device.</summary>
    /// <param name="device">Taken over: disposed with the server.</param>
    /// <param name="socketPath">Where to listen; at most 107 bytes.</param>
    /// <param name="access">Who may connect there; null for <see cref="VhostUserServerOptions.Access"/>.</param>
    /// <exception cref="ArgumentException">Another device has its name.</exception>
    /// <exception cref="KernelException">Another socket listens there, or the directory can't be written.</exception>
    public VhostUserBackend Add(VirtioDevice device, string socketPath, SocketAccess? access = null) =>
        Add(device, (reactor, options) => new VhostUserBackend(device, socketPath, reactor, With(options, access)), spec: null).Backend;

    /// <summary>Takes front-ends of a device at a socket that another process made.</summary>
    /// <param name="device">Taken over: disposed with the server.</param>
    /// <param name="socket">
    /// A Unix stream socket that listens, or is connected to a front-end, the only one then; taken over. Its path is not removed.
    /// </param>
    /// <exception cref="ArgumentException">The descriptor is no such socket, or another device has its name.</exception>
    public VhostUserBackend Add(VirtioDevice device, OwnedFd socket) =>
        Add(device, (reactor, options) => new VhostUserBackend(device, socket, reactor, options), spec: null).Backend;

    /// <summary>
    /// Opens a device that is described by a spec of its kind, listens for its front-ends, and connects it to its endpoints on the host:
    /// now, or before it is started by <see cref="Start"/>.
    /// </summary>
    /// <param name="name">Names the device: <c>disk0</c>.</param>
    /// <param name="spec">Describes it, as on the command line.</param>
    /// <param name="socketPath">Where to listen; at most 107 bytes.</param>
    /// <param name="access">Who may connect there; null for <see cref="VhostUserServerOptions.Access"/>.</param>
    /// <exception cref="ArgumentException">The spec has failures, or does not fit what was opened.</exception>
    /// <exception cref="IOException">Something can't be opened, or there is no such group; the message says what and why.</exception>
    /// <exception cref="KernelException">Another socket listens there, or the directory can't be written.</exception>
    public VhostUserBackend Add(string name, DeviceSpec spec, string socketPath, SocketAccess? access = null) =>
        Add(name, spec, device => (reactor, options) => new VhostUserBackend(device, socketPath, reactor, With(options, access)));

    /// <summary>Opens a device that is described by a spec, and takes its front-ends at a socket that another process made.</summary>
    /// <inheritdoc cref="Add(string, DeviceSpec, string, SocketAccess)" path="/exception"/>
    /// <param name="socket">
    /// A Unix stream socket that listens, or is connected to a front-end, the only one then; taken over. Its path is not removed.
    /// </param>
    /// <param name="name">Names the device: <c>disk0</c>.</param>
    /// <param name="spec">Describes it, as on the command line.</param>
    public VhostUserBackend Add(string name, DeviceSpec spec, OwnedFd socket) =>
        Add(name, spec, device => (reactor, options) => new VhostUserBackend(device, socket, reactor, options));

    private static VhostUserBackendOptions With(VhostUserBackendOptions options, SocketAccess? access) =>
        access is null ? options : options with { Access = access };

    private VhostUserBackend Add(
        string name, DeviceSpec spec, Func<VirtioDevice, Func<Reactor, VhostUserBackendOptions, VhostUserBackend>> creator)
    {
        ArgumentNullException.ThrowIfNull(spec);
        Served added = spec.Open(name, OverVhostUser with { IsAddedLater = _started }).HandTo(device => Add(device, creator(device), spec));
        if (!_started) return added.Backend;
        try
        {
            Connect(added);
            return added.Backend;
        }
        catch
        {
            RemoveAsync(added.Backend).GetAwaiter().GetResult();
            throw;
        }
    }

    private Served Add(VirtioDevice device, Func<Reactor, VhostUserBackendOptions, VhostUserBackend> create, DeviceSpec? spec)
    {
        ArgumentNullException.ThrowIfNull(device);
        lock (_changes)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            if (_isDraining) throw new InvalidOperationException("the server takes no more devices: it ends when its front-ends have left");
            if (_names.Contains(device.Name))
                throw new ArgumentException($"two devices are called '{device.Name}': give each a name of its own");
            device.Logger = _options.Logger;
            device.SlowAfter = _options.SlowAfter;
            DeviceReactors reactors = DeviceReactors.Of(device, _turn, _reactors);
            VhostUserBackendOptions options = new()
            {
                Logger = _options.Logger,
                AllowUnsealed = _options.AllowUnsealed,
                Access = _options.Access,
                Mappings = _mappings,
                MeasureLatency = _options.MeasureLatency,
                QueueReactors = reactors.QueueRemotes,
            };
            VhostUserBackend backend = _started ? reactors.Main.Remote.Invoke(_ => create(reactors.Main.Reactor, options))
                : create(reactors.Main.Reactor, options);
            _turn++;
            Served added = new(backend, spec);
            _served.Add(added);
            _names.Add(device.Name);
            return added;
        }
    }

    /// <summary>
    /// Takes a device out, also while a front-end uses it: no front-end comes any more, the connection ends once its rings are quiet, and
    /// the device is disposed.
    /// </summary>
    /// <param name="backend">What <see cref="Add(VirtioDevice, string, SocketAccess)"/> gave.</param>
    /// <returns>Completes when the device is gone: not before the host's storage has answered.</returns>
    /// <exception cref="ArgumentException">The server does not have it, or is removing it already.</exception>
    public Task RemoveAsync(VhostUserBackend backend)
    {
        ArgumentNullException.ThrowIfNull(backend);
        lock (_changes)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            Served served = _served.Find(served => served.Backend == backend)
                ?? throw new ArgumentException($"device '{backend.Device.Name}' is not served here");
            _served.Remove(served);
            _names.Remove(backend.Device.Name);
            Task removal = RemoveAsync(served);
            _removals.RemoveWhere(each => each.IsCompleted);
            _removals.Add(removal);
            return removal;
        }
    }

    /// <summary>
    /// Takes no more front-ends and no more devices, and lets those that are connected go on. For a server that is to be replaced.
    /// </summary>
    /// <returns>Completes when the last front-end has left.</returns>
    public Task DrainAsync()
    {
        lock (_changes)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            if (!_started) throw new InvalidOperationException("the server was not started: there is nothing to drain");
            _isDraining = true;
            return Task.WhenAll(_served.Select(served => EndAsync(served.Backend, served.Backend.Drain)));
        }
    }

    private async Task RemoveAsync(Served served)
    {
        if (_started) await StopAsync(served.Backend).ConfigureAwait(false);
        else served.Backend.Dispose();
        served.Connection?.Dispose();
        served.Backend.Device.Dispose();
    }

    /// <summary>Whether every reactor answers within a time: what a watchdog asks.</summary>
    /// <param name="patience">How long to wait for all of them.</param>
    public bool IsAlive(TimeSpan patience) => _reactors.IsAlive(patience);

    /// <summary>
    /// <see cref="ProcessSandbox.Close(SandboxPlan)"/> for a server, with narrower filters for its threads. Before <see cref="Start"/>:
    /// what its devices would make when front-ends come is made now.
    /// </summary>
    /// <param name="plan">What is kept.</param>
    /// <exception cref="IOException">The kernel refuses.</exception>
    public void CloseSandbox(SandboxPlan plan) => ProcessSandbox.Close(plan, () =>
    {
        if (plan.DevicesComeLater || All.Any(served => RawImage.UsesRing(served.Backend.Device)))
            foreach (ReactorThread reactor in _reactors) _ = RawImage.RingOf(reactor.Reactor);
    });

    /// <summary>Starts the reactors' threads, and connects described devices to their endpoints on the host.</summary>
    /// <exception cref="KernelException">A processor that was named is not there, or not for this process.</exception>
    /// <exception cref="IOException">An endpoint can't be opened; the message says what and why.</exception>
    public void Start()
    {
        StartReactors();
        foreach (Served served in All) Connect(served);
    }

    private void Connect(Served served) =>
        served.Connection = served.Spec?.Connect(served.Backend.Device, served.Backend.Remote, _options.Announce);

    private void StartReactors()
    {
        try
        {
            _reactors.Start();
            foreach (RemoteEndpoint reactor in Reactors) reactor.Invoke(static _ => ProcessSandbox.EnterThread(ThreadKind.Reactor));
            _started = true;
        }
        catch
        {
            // Without their reactors the listeners go too; only the paths are left.
            foreach (Served served in All) served.Backend.RemoveSocket();
            _reactors.Dispose();
            foreach (Served served in All) served.Backend.Device.Dispose();
            _disposed = true;
            throw;
        }
    }

    /// <summary>Ends every connection once its rings are quiet, removes the sockets, stops the threads and disposes the devices.</summary>
    public void Dispose()
    {
        lock (_changes)
        {
            if (_disposed) return;
            _disposed = true;
        }
        _meter.Dispose();
        foreach (Served served in All) served.Connection?.Dispose();
        if (_started) StopRunning();
        else foreach (Served served in All) served.Backend.Dispose();
        _reactors.Dispose();
        foreach (Served served in All) served.Backend.Device.Dispose();
    }

    private void StopRunning()
    {
        Task[] stops = [.. All.Select(served => StopAsync(served.Backend)), .. _removals];
        if (!Task.WaitAll(stops, StopPatience))
            _options.Logger.LogError("{Count} devices still have requests in flight: stopping without them",
                stops.Count(stop => !stop.IsCompleted));
    }

    private static Task StopAsync(VhostUserBackend backend) => EndAsync(backend, backend.Stop);

    private static Task EndAsync(VhostUserBackend backend, Action<Action> end)
    {
        // Whatever waits for this goes on elsewhere: the reactor's thread may not wait for itself.
        TaskCompletionSource stopped = new(TaskCreationOptions.RunContinuationsAsynchronously);
        try
        {
            backend.Remote.Post(_ => end(stopped.SetResult));
        }
        catch (ReactorStoppedException)
        {
            stopped.SetResult();
        }
        return stopped.Task;
    }

    /// <summary>A device that is served.</summary>
    /// <param name="backend">The device.</param>
    /// <param name="spec">What describes it; null if it came as an object.</param>
    private sealed class Served(VhostUserBackend backend, DeviceSpec? spec)
    {
        internal VhostUserBackend Backend => backend;

        internal DeviceSpec? Spec => spec;

        /// <summary>To its endpoints on the host; null if it has none.</summary>
        internal IDisposable? Connection;
    }
}
