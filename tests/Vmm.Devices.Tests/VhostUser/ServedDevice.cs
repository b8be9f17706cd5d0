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
    private readonly TimeProvider _clock;
    private readonly List<Thread> _threads = [];
    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-vhost-").FullName;

    internal ServedDevice(VirtioDevice device, bool allowUnsealed = false, int queueReactors = 0, TimeSpan pollMax = default, MappingBudget? mappings = null,
        Func<Action, Task>? slowCalls = null, TimeProvider? clock = null)
    {
        _pollMax = pollMax;
        _clock = clock ?? TimeProvider.System;
        Device = device;
        device.Logger = DeviceLog;
        RemoteEndpoint[] remotes = [.. Enumerable.Range(0, queueReactors).Select(i => Run(new Reactor(Options($"queue{i}"))).Remote)];
        Reactor reactor = new(Options("device"));
        Backend = new VhostUserBackend(device, Path.Combine(_directory, "s"), reactor,
            new VhostUserBackendOptions
            {
                AllowUnsealed = allowUnsealed,
                QueueReactors = queueReactors == 0 ? [] : [.. device.Queues.Select((_, i) => remotes[i % queueReactors])],
                Logger = Log,
                Mappings = mappings ?? new MappingBudget(MappingBudget.StandardBytes),
                SlowCalls = slowCalls ?? Task.Run,
            });
        Remote = Run(reactor).Remote;
    }

    internal VirtioDevice Device { get; }

    internal VhostUserBackend Backend { get; }

    internal RemoteEndpoint Remote { get; }

    internal string SocketPath => Backend.SocketPath;

    internal RecordingLogger Log { get; } = new();

    /// <summary>What the device itself said.</summary>
    internal RecordingLogger DeviceLog { get; } = new();

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

    private ReactorOptions Options(string name) =>
        new() { Name = name, OnHandlerFailure = Failures.Enqueue, PollMax = _pollMax, Poller = PollerSuite.Poller, TimeProvider = _clock };

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
        // The thread that made a reactor may wait for it once another one runs it.
        using ManualResetEventSlim runs = new();
        reactor.Remote.Post(_ => runs.Set());
        Assert.True(runs.Wait(Patience), "a reactor does not run");
        return reactor;
    }
}

/// <summary>Keeps what was logged.</summary>
internal sealed class RecordingLogger : ILogger
{
    private int _attempts;

    internal ConcurrentQueue<(LogLevel Level, string Line)> Entries { get; } = new();

    /// <summary>Those that have a name.</summary>
    internal ConcurrentQueue<EventId> Kinds { get; } = new();

    internal IEnumerable<string> Lines => Entries.Select(entry => entry.Line);

    /// <summary>Warnings and errors that were to be logged.</summary>
    internal int Attempts => Volatile.Read(ref _attempts);

    /// <summary>Whether it fails, as a log does that cannot be written.</summary>
    internal bool Throws { get; set; }

    public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => true;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        if (logLevel >= LogLevel.Warning) Interlocked.Increment(ref _attempts);
        if (Throws) throw new IOException("the log cannot be written");
        if (eventId.Name is not null) Kinds.Enqueue(eventId);
        Entries.Enqueue((logLevel, formatter(state, exception)));
    }
}
