using Microsoft.Extensions.Logging;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices.VhostUser;

/// <summary>
/// Serves one device to the front-ends that connect to a Unix socket, one after the other: QEMU, cloud-hypervisor, crosvm, or
/// <see cref="VhostUserFrontend"/>. Lives on one reactor; every member but <see cref="Remote"/> is for that reactor's thread.
/// </summary>
public sealed class VhostUserBackend : IInspectable, IDisposable
{
    /// <summary>Most different complaints that are logged. There are fewer, but some name a number.</summary>
    private const int SentencesMax = 100;

    /// <summary>A guest that starts again leaves, comes and starts its driver within one second.</summary>
    private const int AnnouncementsPerSecond = 6;

    private readonly Reactor _reactor;
    private readonly AcceptLoop _accepting;
    /// <summary>Null for a device that was given a connection.</summary>
    private readonly UnixSocket? _listening;
    private readonly TaskCompletionSource _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private VhostUserSession? _session;
    private Action? _onStopped;
    private readonly HashSet<string> _said = [];
    /// <summary>Why no connection can be accepted now; null while it can.</summary>
    private string? _failure;
    private bool _stopping;
    private long _announcedSecond;
    private int _announced;

    /// <summary>
    /// Listens; a socket that a process that is gone left behind is replaced. Who may connect, <see cref="VhostUserBackendOptions.Access"/>
    /// says.
    /// </summary>
    /// <param name="device">The device. It stays the caller's, and is reset when a front-end goes.</param>
    /// <param name="socketPath">At most 107 bytes.</param>
    /// <param name="reactor">What serves it, on its thread or before it runs.</param>
    /// <param name="options">How it is served; null for the defaults.</param>
    /// <exception cref="KernelException">Another socket listens there, or the directory can't be written.</exception>
    /// <exception cref="IOException">This host has no such group.</exception>
    public VhostUserBackend(VirtioDevice device, string socketPath, Reactor reactor, VhostUserBackendOptions? options = null)
        : this(device, backend => (backend.Listen(socketPath), true), socketPath, reactor, options)
    {
    }

    /// <summary>
    /// Serves a device at a socket that another process made, such as systemd (<c>LISTEN_FDS</c>) or a manager of machines. Its path is not
    /// removed. One that is connected is the only front-end that the device ever has: see <see cref="Completion"/>.
    /// </summary>
    /// <param name="device">The device. It stays the caller's, and is reset when a front-end goes.</param>
    /// <param name="socket">A Unix stream socket that listens, or is connected to a front-end; taken over.</param>
    /// <param name="reactor">What serves it, on its thread or before it runs.</param>
    /// <param name="options">How it is served; null for the defaults.</param>
    /// <exception cref="ArgumentException">The descriptor is no such socket.</exception>
    public VhostUserBackend(VirtioDevice device, OwnedFd socket, Reactor reactor, VhostUserBackendOptions? options = null)
        : this(device, _ => (UnixEndpoint.OfPassed(socket, out bool listens), listens), "", reactor, options)
    {
    }

    private VhostUserBackend(VirtioDevice device, Func<VhostUserBackend, (UnixSocket Socket, bool Listens)> open, string socketPath,
        Reactor reactor, VhostUserBackendOptions? options)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(reactor);
        Device = device;
        SocketPath = socketPath;
        Options = options ?? new VhostUserBackendOptions();
        if (Options.MeasureLatency) device.MeasureLatency = true;
        _reactor = reactor;
        QueueReactors = DeviceRunner.ReactorsOf(device, reactor.Remote, Options.QueueReactors);
        (UnixSocket socket, bool listens) = open(this);
        if (listens) _listening = socket;
        _accepting = new AcceptLoop(
            socket, new Subscriber($"{device.Name}/listener").In(reactor), Serve, CannotServe, isConnected: !listens);
        _accepting.Next();
    }

    /// <summary>The device.</summary>
    public VirtioDevice Device { get; }

    /// <summary>Where it listens; empty if it was given its socket.</summary>
    public string SocketPath { get; }

    /// <summary>
    /// Completes when no front-end comes any more: the one whose connection the device was given has left, or the device was stopped.
    /// </summary>
    public Task Completion => _completion.Task;

    /// <summary>What its queues did, by number, over all connections. Any thread.</summary>
    public IReadOnlyList<QueueStatistics> Statistics => Device.QueueStatistics;

    /// <summary>Front-ends that came so far. Any thread.</summary>
    public long Connections => Volatile.Read(ref _connections);
    private long _connections;

    /// <summary>Whether a front-end is connected now. Any thread.</summary>
    public bool IsConnected => Volatile.Read(ref _session) is not null;

    internal VhostUserBackendOptions Options { get; }

    /// <summary>How other threads reach the device's own reactor. Any thread.</summary>
    public RemoteEndpoint Remote => _reactor.Remote;

    /// <summary>The reactor of each queue.</summary>
    internal RemoteEndpoint[] QueueReactors { get; }

    /// <inheritdoc/>
    public void Inspect(InspectNode node)
    {
        ArgumentNullException.ThrowIfNull(node);
        Device.Inspect(node);
        node.Add("socket", SocketPath);
        node.Add("reactor", _reactor.Name);
        node.Add("connections", Connections);
        _session?.Inspect(node.AddNode("front-end"));
    }

    /// <summary>Stops to listen, removes the socket, and ends the connection there is.</summary>
    /// <param name="onStopped">Called on the reactor's thread, now or later, when every ring is quiet and the device is reset.</param>
    public void Stop(Action onStopped)
    {
        Drain(onStopped);
        _session?.Stop();
    }

    /// <summary>Stops to listen, removes the socket, and lets the connection there is go on until its front-end leaves.</summary>
    /// <param name="onStopped">Called on the reactor's thread, now or later, when no front-end is left and the device is reset.</param>
    public void Drain(Action onStopped)
    {
        ArgumentNullException.ThrowIfNull(onStopped);
        if (!_stopping)
        {
            _stopping = true;
            RemoveSocket();
            _accepting.Stop();
        }
        if (_session is null)
        {
            _completion.TrySetResult();
            onStopped();
            return;
        }
        _onStopped += onStopped;
    }

    /// <summary>Removes the socket's path if it still names this back-end's socket.</summary>
    internal void RemoveSocket() => _listening?.RemovePath();

    /// <summary>As <see cref="Stop"/>, without waiting for rings to stop.</summary>
    public void Dispose() => Stop(() => { });

    /// <summary>
    /// Says what a front-end did wrong, the first time it happens: one that comes back and does it again, for days, fills no log.
    /// Any thread.
    /// </summary>
    internal void WarnOnce(string sentence, EventId kind = default) => LogOnce(LogLevel.Warning, kind, sentence);

    /// <summary>As <see cref="WarnOnce"/>, for what is unusual and harms nothing.</summary>
    internal void DebugOnce(string sentence) => LogOnce(LogLevel.Debug, default, sentence);

    private void LogOnce(LogLevel level, EventId kind, string sentence)
    {
        lock (_said)
        {
            if (_said.Count >= SentencesMax || !_said.Add(sentence)) return;
        }
        Options.Logger.Log(level, kind, "{Device}: {Sentence}", Device.Name, sentence);
    }

    /// <summary>
    /// Says what happened to a connection, for the operator. Of a front-end that comes and goes many times a second, the first lines of
    /// each second. On the reactor's thread.
    /// </summary>
    internal void Announce(EventId kind, string sentence)
    {
        long second = Environment.TickCount64 / 1000;
        if (second != _announcedSecond) (_announcedSecond, _announced) = (second, 0);
        if (_announced++ < AnnouncementsPerSecond) Options.Logger.LogInformation(kind, "{Device}: {Sentence}", Device.Name, sentence);
    }

    private UnixSocket Listen(string path) =>
        UnixEndpoint.ListenAnew(path, Options.Access.Mode, group: Options.Access.GroupNumber());

    /// <summary>Serves a front-end until it leaves.</summary>
    private bool Serve(UnixSocket socket)
    {
        _session = new VhostUserSession(this, socket, _reactor, OnSessionEnded);
        Volatile.Write(ref _connections, _connections + 1);
        if (_failure is not null) Options.Logger.LogInformation("{Device}: takes connections again", Device.Name);
        _failure = null;
        _session.Start();
        return false;
    }

    /// <summary>Says why no front-end can be served now: once, not with each try.</summary>
    private void CannotServe(Errno errno, string what)
    {
        if (what == _failure) return;
        _failure = what;
        Options.Logger.LogError("{Device}: {What} ({Errno}); trying again", Device.Name, what, errno);
    }

    private void OnSessionEnded()
    {
        _session = null;
        if (_stopping)
        {
            Action? onStopped = _onStopped;
            _onStopped = null;
            _completion.TrySetResult();
            onStopped?.Invoke();
            return;
        }
        if (_listening is null) _completion.TrySetResult();
        else _accepting.Next();
    }
}
