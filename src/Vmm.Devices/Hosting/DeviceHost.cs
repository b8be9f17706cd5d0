using Microsoft.Extensions.Logging;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// The devices of one machine on their reactors: guest memory, an address space of registers and one of ports, virtio devices with an
/// interrupt line each, serial ports. It runs from its making to its disposal; a machine with vCPUs, simulated or of KVM, connects to it.
/// </summary>
/// <remarks>Add devices and connect from one thread; everything else is thread-safe.</remarks>
public sealed partial class DeviceHost : IAsyncDisposable, IDisposable
{
    private readonly DeviceHostOptions _options;
    private readonly ILogger _logger;
    private readonly List<ReactorThread> _reactors = [];
    private readonly List<HostedDevice> _devices = [];
    private readonly List<HostedSerial> _serials = [];
    private readonly bool _ownsMemory;

    /// <summary>Hosts devices with the default options.</summary>
    /// <param name="devices">The host disposes them.</param>
    public DeviceHost(params VirtioDevice[] devices) : this(new DeviceHostOptions(), devices)
    {
    }

    /// <summary>Hosts devices.</summary>
    /// <param name="options">What the host is made of.</param>
    /// <param name="devices">The host disposes them, also if this throws.</param>
    /// <exception cref="ArgumentException">An option or a device does not fit; the message says which and why.</exception>
    /// <exception cref="KernelException">The host has not enough memory or descriptors.</exception>
    public DeviceHost(DeviceHostOptions options, params VirtioDevice[] devices)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(devices);
        if (options.Failures().FirstOrDefault() is { } failure) throw new ArgumentException(failure, nameof(options));
        _options = options;
        _logger = options.Logging.CreateLogger<DeviceHost>();
        _ownsMemory = options.Memory is null;
        Memory = options.Memory ?? GuestMemory.Create(options.MemoryBytes);
        int added = 0;
        try
        {
            for (int i = 0; i < options.Reactors; i++)
            {
                _reactors.Add(new ReactorThread(ReactorOptions(i)));
                _reactors[i].Start();
            }
            foreach (VirtioDevice device in devices)
            {
                Add(device);
                added++;
            }
        }
        catch
        {
            foreach (VirtioDevice device in devices.AsSpan(added)) device?.Dispose();
            Dispose();
            throw;
        }
    }

    /// <summary>The guest's memory.</summary>
    public GuestMemory Memory { get; }

    /// <summary>Where the guest reaches the virtio devices.</summary>
    public Bus Mmio { get; } = new("mmio");

    /// <summary>Where the guest reaches the serial ports, and what else is put there.</summary>
    public Bus Ports { get; } = new("port");

    /// <summary>The virtio devices, in the order they were added.</summary>
    public IReadOnlyList<HostedDevice> Devices => _devices;

    /// <summary>The serial ports, in the order they were added.</summary>
    public IReadOnlyList<HostedSerial> Serials => _serials;

    /// <summary>The reactors, for what else they are to serve.</summary>
    public IReadOnlyList<RemoteEndpoint> Reactors => [.. _reactors.Select(reactor => reactor.Remote)];

    /// <summary>What devices and reactors did so far. Not on a reactor's thread.</summary>
    public DeviceHostStatistics Statistics => new(
        [.. _devices.Select(hosted => DeviceStatistics.Of(hosted.Device))],
        ReactorStatistics);

    /// <summary>Puts a virtio device at the next free registers, interrupt line and reactor.</summary>
    /// <param name="device">From now on the host's, which disposes it. Stays the caller's if this throws.</param>
    /// <exception cref="ArgumentException">Its name or its disk is another device's already, or there is no room.</exception>
    public HostedDevice Add(VirtioDevice device)
    {
        ArgumentNullException.ThrowIfNull(device);
        ThrowIfSettled();
        int index = _devices.Count;
        if (index == _options.DevicesMax)
            throw new ArgumentException($"no room for device '{device.Name}': this host takes {_options.DevicesMax}");
        if (_devices.Any(hosted => hosted.Device.Name == device.Name))
            throw new ArgumentException($"two devices are called '{device.Name}': give each a name of its own");
        ThrowIfDiskIsShared(device);

        device.Logger = _options.Logging.CreateLogger(device.GetType());
        device.MeasureLatency = _options.MeasureLatency;
        InterruptLine line = new(_options.FirstInterrupt + index);
        ulong address = _options.MmioBase + ((ulong)index * VirtioMmioTransport.Length);
        VirtioMmioTransport transport = new(device, Memory, line, _reactors[index % _reactors.Count].Remote, TransportOptions(device, index));
        Mmio.Add(address, VirtioMmioTransport.Length, transport);
        HostedDevice added = new(device, transport, address, line);
        _devices.Add(added);
        return added;
    }

    /// <summary>Puts a 16550A serial port on the bus of ports, and carries its bytes.</summary>
    /// <exception cref="ArgumentException">An option is out of its range; the message says which.</exception>
    /// <exception cref="InvalidOperationException">Another device has these ports.</exception>
    public HostedSerial AddSerial(string name, SerialPortOptions? options = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        ThrowIfSettled();
        options ??= new SerialPortOptions();
        if (options.Failures(name).FirstOrDefault() is { } failure) throw new ArgumentException(failure, nameof(options));
        InterruptLine line = new(options.Interrupt);
        Uart16550 port = new(line, name);
        Ports.Add((ulong)options.Port, port.RangeLength, port);
        RemoteEndpoint reactor = _reactors[_serials.Count % _reactors.Count].Remote;
        SerialBackend backend = new(port, reactor, options.Input, options.Output, _options.Logging.CreateLogger<SerialBackend>(), options.Script);
        HostedSerial added = new(port, (ushort)options.Port, line, backend, reactor);
        _serials.Add(added);
        reactor.Invoke(backend.RegisterInto);
        return added;
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
        foreach (HostedDevice hosted in _devices)
        {
            if (hosted.Device is BlockDevice other && other.Backend.Identity == identity)
            {
                throw new ArgumentException(
                    $"disks '{other.Name}' and '{disk.Name}' are the same file, {disk.Backend.Description}: give each an image of its own");
            }
        }
    }

    private VirtioMmioOptions TransportOptions(VirtioDevice device, int index)
    {
        VirtioMmioOptions options = new() { ResetWait = _options.ResetWait };
        if (_options.CommonFeatures is { } features) options = options with { CommonFeatures = features };
        if (!device.QueuesAreIndependent || _reactors.Count == 1) return options;
        // Queue 0 where the device is, the others on the reactors after it.
        return options with { QueueReactors = [.. device.Queues.Select((_, queue) => _reactors[(index + device.QueueGroupOf(queue)) % _reactors.Count].Remote)] };
    }

    private ReactorOptions ReactorOptions(int index) => new()
    {
        Name = $"devices{index}",
        Poller = _options.Poller,
        OnHandlerFailure = failure => _logger.LogError(failure.Exception, "{Source} failed", failure.Source),
        OnFallBack = reason => _logger.LogWarning("{Reason}", reason),
    };
}
