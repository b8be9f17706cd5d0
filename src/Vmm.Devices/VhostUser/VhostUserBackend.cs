using Microsoft.Extensions.Logging;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices.VhostUser;

/// <summary>
/// Serves one device to the front-ends that connect to a Unix socket, one after the other: QEMU, cloud-hypervisor, crosvm, or
/// <see cref="VhostUserFrontend"/>. Lives on one reactor; every member but <see cref="Remote"/> is for that reactor's thread.
/// </summary>
public sealed class VhostUserBackend : IDisposable
{
    private const UnixFileMode SocketMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    /// <summary>How long a connection waits when this process can open no more descriptors.</summary>
    private static readonly TimeSpan AcceptRetry = TimeSpan.FromMilliseconds(100);

    /// <summary>Most different complaints that are logged. There are fewer, but some name a number.</summary>
    private const int SentencesMax = 100;

    private readonly Reactor _reactor;
    private readonly Subscriber _sources;
    private readonly Subscription<UnixSocket> _listener;
    private readonly TimerFd _retry = new();
    private VhostUserSession? _session;
    private Action? _onStopped;
    private readonly HashSet<string> _said = [];
    private bool _stopping;

    /// <summary>Listens. The socket has mode 0600; one that a process that is gone left behind is replaced.</summary>
    /// <param name="device">The device. It stays the caller's, and is reset when a front-end goes.</param>
    /// <param name="socketPath">At most 107 bytes.</param>
    /// <param name="reactor">What serves it, on its thread or before it runs.</param>
    /// <param name="options">How it is served; null for the defaults.</param>
    /// <exception cref="KernelException">Somebody listens there, or the directory can't be written.</exception>
    public VhostUserBackend(VirtioDevice device, string socketPath, Reactor reactor, VhostUserBackendOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(reactor);
        Device = device;
        SocketPath = socketPath;
        Options = options ?? new VhostUserBackendOptions();
        if (Options.QueueReactors.Count > 0 && !device.QueuesAreIndependent)
            throw new ArgumentException($"the queues of {device.Name} share state: they can't be served by reactors of their own", nameof(options));
        Statistics = [.. device.Queues.Select(_ => new QueueStatistics())];
        _reactor = reactor;
        _sources = new Subscriber($"{device.Name}/listener");
        // Edge-triggered: with a front-end connected the next one waits in the backlog, without waking us.
        _listener = Interest.Readable.EdgeTriggered.WithFd(UnixSocket.ListenAnew(socketPath, SocketMode)).WithHandler(_ => AcceptNext()).OwnedBy(_sources);
        _listener.RegisterInto(reactor);
        Interest.Readable.EdgeTriggered.WithFd(_retry).WithHandler(_ => AcceptNext()).OwnedBy(_sources).RegisterInto(reactor);
    }

    /// <summary>The device.</summary>
    public VirtioDevice Device { get; }

    /// <summary>Where it listens.</summary>
    public string SocketPath { get; }

    /// <summary>What its queues did, by number, over all connections. Any thread.</summary>
    public IReadOnlyList<QueueStatistics> Statistics { get; }

    /// <summary>Front-ends that came so far. Any thread.</summary>
    public long Connections => Volatile.Read(ref _connections);
    private long _connections;

    internal VhostUserBackendOptions Options { get; }

    /// <summary>How other threads reach the device's own reactor. Any thread.</summary>
    public RemoteEndpoint Remote => _reactor.Remote;

    /// <summary>Who serves a queue.</summary>
    internal RemoteEndpoint QueueRemote(int index) =>
        Options.QueueReactors.Count == 0 ? Remote : Options.QueueReactors[Math.Min(index, Options.QueueReactors.Count - 1)];

    /// <summary>Stops to listen, removes the socket, and ends the connection there is.</summary>
    /// <param name="onStopped">Called on the reactor's thread, now or later, when every ring is quiet and the device is reset.</param>
    public void Stop(Action onStopped)
    {
        ArgumentNullException.ThrowIfNull(onStopped);
        if (!_stopping)
        {
            _stopping = true;
            _sources.RemoveFrom(_reactor);
            File.Delete(SocketPath);
        }
        if (_session is null)
        {
            onStopped();
            return;
        }
        _onStopped += onStopped;
        _session.Stop();
    }

    /// <summary>As <see cref="Stop"/>, without waiting for rings to come to rest.</summary>
    public void Dispose() => Stop(() => { });

    /// <summary>
    /// Says what a front-end did wrong, the first time it happens: one that comes back and does it again, for days, fills no log.
    /// </summary>
    internal void WarnOnce(string sentence)
    {
        if (_said.Count < SentencesMax && _said.Add(sentence)) Options.Logger.LogWarning("{Device}: {Sentence}", Device.Name, sentence);
    }

    private void AcceptNext()
    {
        if (_stopping || _session is not null) return;
        UnixSocket? socket = _listener.Fd.Accept(out Errno errno);
        if (socket is null)
        {
            if (errno is Errno.Again) return;
            Options.Logger.LogError("{Device}: cannot accept a connection: {Errno}", Device.Name, errno);
            _retry.Arm(AcceptRetry);
            return;
        }
        Volatile.Write(ref _connections, _connections + 1);
        _session = new VhostUserSession(this, socket, _reactor, OnSessionEnded);
    }

    private void OnSessionEnded()
    {
        _session = null;
        if (_stopping)
        {
            Action? onStopped = _onStopped;
            _onStopped = null;
            onStopped?.Invoke();
            return;
        }
        // Not from inside of the end of this one: a queue of connections that break at once must not become a stack.
        Remote.Post(_ => AcceptNext());
    }
}
