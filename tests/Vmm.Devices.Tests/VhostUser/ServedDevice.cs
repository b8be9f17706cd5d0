using System.Collections.Concurrent;
using Microsoft.Extensions.Logging;
using Vmm.Devices.VhostUser;
using Vmm.Events;

namespace Vmm.Devices.Tests.VhostUser;

/// <summary>A device served over a socket in a directory of its own, on a reactor with a thread of its own.</summary>
internal sealed class ServedDevice : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    private readonly CancellationTokenSource _stop = new();
    private readonly TimeSpan _pollMax;
    private readonly List<Thread> _threads = [];
    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-vhost-").FullName;

    internal ServedDevice(VirtioDevice device, bool requireSealed = false, int queueReactors = 0, TimeSpan pollMax = default)
    {
        _pollMax = pollMax;
        Device = device;
        RemoteEndpoint[] remotes = [.. Enumerable.Range(0, queueReactors).Select(i => Run(new Reactor(Options($"queue{i}"))).Remote)];
        Reactor reactor = new(Options("device"));
        Backend = new VhostUserBackend(device, Path.Combine(_directory, "s"), reactor,
            new VhostUserBackendOptions { RequireSealed = requireSealed, QueueReactors = remotes, Logger = Log });
        Remote = Run(reactor).Remote;
    }

    internal VirtioDevice Device { get; }

    internal VhostUserBackend Backend { get; }

    internal RemoteEndpoint Remote { get; }

    internal string SocketPath => Backend.SocketPath;

    internal RecordingLogger Log { get; } = new();

    /// <summary>Handlers that threw: there are none in a test that passes.</summary>
    internal ConcurrentQueue<HandlerFailure> Failures { get; } = new();

    internal VhostUserFrontend Connect() => VhostUserFrontend.Connect(SocketPath, Patience);

    public void Dispose()
    {
        TaskCompletionSource stopped = new();
        Remote.Post(_ => Backend.Stop(stopped.SetResult));
        Assert.True(stopped.Task.Wait(Patience), "the back-end does not stop");
        Assert.False(File.Exists(SocketPath));
        _stop.Cancel();
        foreach (Thread thread in _threads) Assert.True(thread.Join(Patience), "a reactor does not stop");
        Device.Dispose();
        _stop.Dispose();
        Directory.Delete(_directory, recursive: true);
        Assert.Empty(Failures);
    }

    private ReactorOptions Options(string name) => new() { Name = name, OnHandlerFailure = Failures.Enqueue, PollMax = _pollMax };

    private Reactor Run(Reactor reactor)
    {
        Thread thread = new(() =>
        {
            reactor.Run(_stop.Token);
            reactor.Dispose();
        })
        { IsBackground = true };
        thread.Start();
        _threads.Add(thread);
        return reactor;
    }
}

/// <summary>Keeps what was logged.</summary>
internal sealed class RecordingLogger : ILogger
{
    internal ConcurrentQueue<string> Lines { get; } = new();

    public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => true;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
        Lines.Enqueue(formatter(state, exception));
}
