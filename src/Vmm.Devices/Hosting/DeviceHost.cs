using Microsoft.Extensions.Logging;
using Vmm.Devices.Sandbox;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// Hosts the devices of one machine: it gives each virtio device registers, an interrupt line and a reactor, and carries the bytes of
/// serial ports. It runs from its making to its disposal; the machine on whose board it is, simulated or of KVM, runs the vCPUs.
/// </summary>
/// <remarks>Members are thread-safe. Those that wait must not be called on a reactor's thread.</remarks>
public sealed class DeviceHost : IAsyncDisposable, IDisposable
{
    private readonly DeviceHostOptions _options;
    private readonly ILogger _logger;
    private readonly ReactorGroup _reactors;
    /// <summary>Guards changes of the lists below, which readers take whole.</summary>
    private readonly Lock _changes = new();
    private readonly HostedDevice?[] _slots;
    private volatile HostedDevice[] _devices = [];
    private volatile HostedSerial[] _serials = [];
    private readonly DeviceMeter _meter;
    private Task? _stopped;
    private volatile List<ReactorStatistics>? _lastReactorStatistics;
    private bool _released;

    /// <summary>Hosts devices with the default options.</summary>
    /// <param name="board">The machine's board. The host disposes it.</param>
    /// <param name="devices">The host disposes them.</param>
    public DeviceHost(IMachineBoard board, params VirtioDevice[] devices) : this(board, new DeviceHostOptions(), devices)
    {
    }

    /// <summary>Hosts devices.</summary>
    /// <param name="board">The machine's board. The host disposes it, last; also if this throws.</param>
    /// <param name="options">How they are served.</param>
    /// <param name="devices">The host disposes them, also if this throws.</param>
    /// <exception cref="ArgumentException">An option or a device does not fit; the message says which and why.</exception>
    /// <exception cref="KernelException">The host has not enough memory or descriptors.</exception>
    public DeviceHost(IMachineBoard board, DeviceHostOptions options, params VirtioDevice[] devices)
    {
        ArgumentNullException.ThrowIfNull(board);
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(devices);
        Board = board;
        _options = options;
        _logger = SteadyLogger.Over(options.Logging.CreateLogger<DeviceHost>());
        _slots = new HostedDevice?[board.Slots.Count];
        int added = 0;
        try
        {
            if (options.Failures().FirstOrDefault() is { } failure) throw new ArgumentException(failure, nameof(options));
            _reactors = new ReactorGroup(options.Reactors, ReactorOptions);
            _meter = new DeviceMeter(() => _devices.Select(hosted => hosted.Device));
            _reactors.Start();
            for (; added < devices.Length; added++) Add(devices[added]);
        }
        catch
        {
            foreach (VirtioDevice device in devices.AsSpan(added)) device?.Dispose();
            if (_reactors is null) board.Dispose();
            else Dispose();
            throw;
        }
    }

    /// <summary>The machine's board.</summary>
    public IMachineBoard Board { get; }

    /// <summary>The guest's memory.</summary>
    public GuestMemory Memory => Board.Memory;

    /// <summary>The virtio devices, in the order they were added.</summary>
    public IReadOnlyList<HostedDevice> Devices => _devices;

    /// <summary>The serial ports, in the order they were added.</summary>
    public IReadOnlyList<HostedSerial> Serials => _serials;

    /// <summary>The reactors, for what else they are to serve.</summary>
    public IReadOnlyList<RemoteEndpoint> Reactors => [.. _reactors.Select(reactor => reactor.Remote)];

    /// <summary>Whether every reactor answers within a time: what a watchdog asks. Not on a reactor's thread.</summary>
    /// <param name="patience">How long to wait for all of them.</param>
    public bool IsAlive(TimeSpan patience) => _reactors.IsAlive(patience);

    /// <summary>What devices and reactors did so far. Not on a reactor's thread.</summary>
    public DeviceHostStatistics Statistics => new([.. _devices.Select(DeviceStatistics.Of)], ReactorStatistics);

    internal ILoggerFactory Logging => _options.Logging;

    /// <summary>
    /// Puts a virtio device at the first free registers and interrupt line, or, where the machine goes on from a snapshot, at those that
    /// the device of that name had. A guest that runs already learns of it only if it looks there again.
    /// </summary>
    /// <param name="device">From now on the host's, which disposes it. Stays the caller's if this throws.</param>
    /// <exception cref="ArgumentException">Its name or its disk is another device's already, or there is no room.</exception>
    /// <exception cref="KernelException">The host has not enough descriptors.</exception>
    public HostedDevice Add(VirtioDevice device)
    {
        ArgumentNullException.ThrowIfNull(device);
        // Else it would be done on a reactor, which has others to serve.
        if (device is BlockDevice { Pins: true }) foreach (GuestRegion region in Memory.Regions) region.Populate();
        lock (_changes)
        {
            ObjectDisposedException.ThrowIf(_stopped is not null, this);
            if (_slots.Any(hosted => hosted?.Device.Name == device.Name))
                throw new ArgumentException($"two devices are called '{device.Name}': give each a name of its own");
            ThrowIfDiskIsShared(device);
            ThrowIfPinnedMemoryIsGivenBack(device);
            int slot = (Board as ISavedPlaces)?.PlaceOf(device.Name) is { } saved && saved < _slots.Length && _slots[saved] is null
                ? saved : Array.IndexOf(_slots, null);
            if (slot < 0) throw new ArgumentException($"no room for device '{device.Name}': this machine takes {_slots.Length}");

            device.Logger = _options.Logging.CreateLogger(device.GetType());
            device.MeasureLatency = _options.MeasureLatency;
            device.SlowAfter = _options.SlowAfter;
            if (_options.MirrorConsoles) (device as ConsoleDevice)?.Mirror();
            DeviceReactors reactors = DeviceReactors.Of(device, slot, _reactors);
            IInterrupt line = Board.Line(Board.Slots.LineOf(slot));
            VirtioMmioTransport transport = new(device, Memory, line, reactors.Main.Remote, TransportOptions(reactors));
            HostedDevice added = new(device, transport, reactors, slot, Board);
            added.Attach();
            _slots[slot] = added;
            _devices = [.. _devices, added];
            return added;
        }
    }

    /// <summary>Opens a device as it is described, adds it, and connects it to its endpoints on the host.</summary>
    /// <param name="name">The device's name.</param>
    /// <param name="spec">The device.</param>
    /// <param name="setting">What the machine decides where the spec leaves it open; null for a machine of one vCPU.</param>
    /// <exception cref="ArgumentException">The device does not fit; the message says why.</exception>
    /// <exception cref="IOException">Something can't be opened; the message says what and why.</exception>
    public HostedDevice Add(string name, DeviceSpec spec, DeviceSetting? setting = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        ArgumentNullException.ThrowIfNull(spec);
        HostedDevice added = spec.Open(name, setting).HandTo(Add);
        try
        {
            added.Connection = spec.Connect(added.Device, added.Reactor, _options.Announce);
            return added;
        }
        catch
        {
            // No driver has found it: it stops at once.
            RemoveAsync(added).GetAwaiter().GetResult();
            throw;
        }
    }

    /// <summary>
    /// Takes a virtio device out of the machine, also while the machine runs. The guest's accesses to its registers find nothing from now
    /// on; its place is free when the task completes.
    /// </summary>
    /// <param name="hosted">What <see cref="Add(VirtioDevice)"/> gave.</param>
    /// <returns>Completes when nothing of the device is in flight and it was disposed: not before the host's storage has
    /// answered.</returns>
    /// <exception cref="ArgumentException">The host does not have it, or is removing it already.</exception>
    public async Task RemoveAsync(HostedDevice hosted)
    {
        ArgumentNullException.ThrowIfNull(hosted);
        lock (_changes)
        {
            ObjectDisposedException.ThrowIf(_stopped is not null, this);
            if (!_devices.Contains(hosted)) throw new ArgumentException($"device '{hosted.Device.Name}' is not part of this machine");
            _devices = [.. _devices.Where(device => device != hosted)];
            hosted.Detach();
        }
        await hosted.Transport.StopAsync().ConfigureAwait(false);
        hosted.Connection?.Dispose();
        lock (_changes)
        {
            // A host that stopped meanwhile disposes it.
            if (_slots[hosted.Slot] != hosted || _released) return;
            _slots[hosted.Slot] = null;
        }
        hosted.Dispose();
    }

    /// <summary>Puts a 16550A serial port on the bus of ports, and carries its bytes.</summary>
    /// <exception cref="ArgumentException">An option is out of its range; the message says which.</exception>
    /// <exception cref="InvalidOperationException">Another device has these ports.</exception>
    public HostedSerial AddSerial(string name, SerialPortOptions? options = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        options ??= new SerialPortOptions();
        if (options.Failures(name).FirstOrDefault() is { } failure) throw new ArgumentException(failure, nameof(options));
        lock (_changes)
        {
            ObjectDisposedException.ThrowIf(_stopped is not null, this);
            Uart16550 port = new(Board.Line(options.Interrupt), name);
            Board.Ports.Add((ulong)options.Port, port.RangeLength, port);
            RemoteEndpoint reactor = _reactors[_serials.Length % _reactors.Count].Remote;
            SerialBackend backend = new(port, reactor, options.Input, options.Output, _options.Logging.CreateLogger<SerialBackend>(),
                options.Script, _options.MirrorConsoles ? new ConsoleMirror() : null);
            HostedSerial added = new(port, (ushort)options.Port, options.Interrupt, backend, reactor);
            _serials = [.. _serials, added];
            reactor.Invoke(backend.RegisterInto);
            return added;
        }
    }

    /// <summary>
    /// Stops every device between two requests: on completion nothing of them touches the guest's memory. The vCPUs stand still already.
    /// What the guest asked for meanwhile waits for <see cref="ResumeAsync"/>.
    /// </summary>
    public Task PauseAsync() => Task.WhenAll(_devices.Select(hosted => hosted.Transport.PauseAsync()));

    /// <summary>Lets the devices go on where <see cref="PauseAsync"/> stopped them.</summary>
    public Task ResumeAsync() => Task.WhenAll(_devices.Select(hosted => hosted.Transport.ResumeAsync()));

    /// <summary>
    /// Makes every device and serial port what it is at power-on, as a reset of the machine does: no device has a driver, none touches the
    /// guest. What the host has with them stays: images, sockets, terminals, limits. The machine is paused.
    /// </summary>
    internal async Task ResetAsync()
    {
        await Task.WhenAll(_devices.Select(hosted => hosted.Transport.StopAsync())).ConfigureAwait(false);
        foreach (HostedSerial serial in _serials) serial.Reactor.Invoke(_ => serial.Port.Reset());
    }

    /// <summary>
    /// Writes the state of every device and serial port. The machine is paused: no vCPU runs, and <see cref="PauseAsync"/> has completed.
    /// Guest memory is not part of it, nor is what a device has of the host: images, sockets, terminals.
    /// </summary>
    /// <exception cref="StateException">A device is not paused, or has requests in flight.</exception>
    public void Save(StateWriter to)
    {
        ArgumentNullException.ThrowIfNull(to);
        lock (_changes) SavedHost.Save(to, _devices, _serials);
    }

    /// <summary>
    /// Has the devices go on where those of the saved machine stood, when <see cref="ResumeAsync"/> is called: until then they are paused.
    /// Call it when guest memory, interrupt controllers and processors have their state, and before a vCPU runs: interrupt lines that were
    /// up are asserted.
    /// </summary>
    /// <param name="from">What <see cref="Save"/> wrote. The caller ends it with <see cref="StateReader.Complete"/>.</param>
    /// <exception cref="StateException">
    /// This host has other devices, which the message names, or a value does not fit. The host is good for nothing but its disposal then.
    /// </exception>
    public void Restore(StateReader from)
    {
        ArgumentNullException.ThrowIfNull(from);
        lock (_changes) SavedHost.Restore(from, _devices, _serials);
    }

    /// <summary>Announces where the devices will write in their rings. The machine is paused.</summary>
    internal void KeepRings(IBeforeWrite guard)
    {
        foreach (HostedDevice hosted in _devices) hosted.Transport.KeepRings(guard);
    }

    /// <summary>
    /// <see cref="ProcessSandbox.Close(SandboxPlan)"/> for a machine that does not run yet, with narrower filters for the threads of its
    /// devices and vCPUs. What disks would make when a driver finds them is made now.
    /// </summary>
    /// <param name="plan">What is kept.</param>
    /// <exception cref="IOException">The kernel refuses.</exception>
    public void CloseSandbox(SandboxPlan plan)
    {
        ProcessSandbox.Close(plan, () =>
        {
            if (!plan.DevicesComeLater && !_devices.Any(hosted => RawImage.UsesRing(hosted.Device))) return;
            foreach (RemoteEndpoint reactor in Reactors) reactor.Invoke(static own => _ = RawImage.RingOf(own));
        });
        foreach (RemoteEndpoint reactor in Reactors) reactor.Invoke(static _ => ProcessSandbox.EnterThread(ThreadKind.Reactor));
    }

    /// <summary>
    /// Brings the devices to rest: requests in flight complete, what the guest printed is written, then the reactors end. The vCPUs must
    /// have stopped before. Devices that do not stop in time are named in the log.
    /// </summary>
    public Task StopAsync()
    {
        lock (_changes) return _stopped ??= Task.Run(Stop);
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await StopAsync().ConfigureAwait(false);
        Release();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        StopAsync().GetAwaiter().GetResult();
        Release();
    }

    private void Stop()
    {
        // Those that are being removed too.
        (HostedDevice Hosted, Task Quiet)[] resting =
            [.. _slots.OfType<HostedDevice>().Select(hosted => (hosted, hosted.Transport.StopAsync()))];
        if (!Task.WaitAll([.. resting.Select(device => device.Quiet)], _options.StopTimeout))
        {
            foreach ((HostedDevice hosted, _) in resting.Where(device => !device.Quiet.IsCompleted))
                _logger.LogError("{Device} still has requests in flight after {Seconds} s: it is left behind",
                    hosted.Device.Name, _options.StopTimeout.TotalSeconds);
        }
        foreach ((HostedDevice hosted, _) in resting) hosted.Connection?.Dispose();
        foreach (HostedSerial serial in _serials)
        {
            if (!serial.Backend.WaitForOutput(_options.StopTimeout))
                _logger.LogError("{Serial}: its output does not take what the guest printed last", serial.Port.Name);
            serial.Reactor.Invoke(reactor =>
            {
                serial.Backend.RemoveFrom(reactor);
                serial.Backend.Dispose();
            });
        }
        _lastReactorStatistics = ReadReactorStatistics();
        _reactors.Dispose();
    }

    private void Release()
    {
        lock (_changes)
        {
            if (_released) return;
            _released = true;
            _meter.Dispose();
        }
        foreach (HostedDevice hosted in _slots.OfType<HostedDevice>())
        {
            hosted.Detach();
            hosted.Dispose();
        }
        Board.Dispose();
    }

    private IReadOnlyList<ReactorStatistics> ReactorStatistics
    {
        get
        {
            try
            {
                return _lastReactorStatistics ?? ReadReactorStatistics();
            }
            catch (ReactorStoppedException)
            {
                // Stopped meanwhile.
                StopAsync().GetAwaiter().GetResult();
                return _lastReactorStatistics!;
            }
        }
    }

    private List<ReactorStatistics> ReadReactorStatistics() =>
        [.. _reactors.Select(thread => thread.Remote.Invoke(_ => thread.Reactor.Statistics))];

    private void ThrowIfDiskIsShared(VirtioDevice device)
    {
        if (device is not BlockDevice { Backend.Identity: { } identity } disk) return;
        foreach (HostedDevice? hosted in _slots)
        {
            if (hosted?.Device is BlockDevice other && other.Backend.Identity == identity)
            {
                throw new ArgumentException(
                    $"disks '{other.Name}' and '{disk.Name}' are the same file, {disk.Backend.Description}: give each an image of its own");
            }
        }
    }

    private void ThrowIfPinnedMemoryIsGivenBack(VirtioDevice device)
    {
        VirtioDevice[] all = [.. _slots.OfType<HostedDevice>().Select(hosted => hosted.Device), device];
        if (all.OfType<BalloonDevice>().FirstOrDefault() is not { } balloon) return;
        if (all.OfType<BlockDevice>().FirstOrDefault(disk => disk.Pins) is not { } disk) return;
        throw new ArgumentException($"disk '{disk.Name}' has all guest memory pinned, of which balloon '{balloon.Name}' could give nothing "
            + "back: leave out 'pin', or the balloon (--balloon false)");
    }

    private VirtioMmioOptions TransportOptions(DeviceReactors reactors)
    {
        VirtioMmioOptions options = new() { ResetWait = _options.ResetWait, QueueReactors = reactors.QueueRemotes };
        return _options.CommonFeatures is { } features ? options with { CommonFeatures = features } : options;
    }

    private ReactorOptions ReactorOptions(int index) => new()
    {
        Name = $"devices{index}",
        Poller = _options.Poller,
        OnHandlerFailure = failure => _logger.LogError(failure.Exception, "{Source} failed", failure.Source),
        OnFallBack = reason => _logger.LogWarning("{Reason}", reason),
    };
}
