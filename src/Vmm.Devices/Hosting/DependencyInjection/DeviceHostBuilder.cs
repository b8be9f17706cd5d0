using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;

namespace Vmm.Devices;

/// <summary>Names the devices of a host that the container makes. They get registers and interrupt lines in the order they are named.</summary>
public sealed class DeviceHostBuilder
{
    private readonly DeviceHostPlan _plan;

    internal DeviceHostBuilder(IServiceCollection services, DeviceHostPlan plan)
    {
        Services = services;
        _plan = plan;
    }

    /// <summary>The services the host is registered in.</summary>
    public IServiceCollection Services { get; }

    /// <summary>Adds a disk on a raw image.</summary>
    /// <param name="name">Names the disk and its options: <c>vda</c>.</param>
    /// <param name="configure">Says where the image is.</param>
    public DeviceHostBuilder AddVirtioBlock(string name, Action<VirtioBlockOptions> configure)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        ArgumentNullException.ThrowIfNull(configure);
        Services.AddOptions<VirtioBlockOptions>(name).Configure(configure);
        _plan.Disks.Add(name);
        return AddNamed(name, provider =>
        {
            VirtioBlockOptions disk = provider.GetRequiredService<IOptionsMonitor<VirtioBlockOptions>>().Get(name);
            return new BlockDevice(name, RawImage.Open(disk.Path, disk.ReadOnly, disk.Engine, disk.Direct), disk.Device);
        });
    }

    /// <summary>Adds a network card on a TAP interface or on a socket.</summary>
    /// <param name="name">Names the card and its options: <c>net0</c>.</param>
    /// <param name="configure">Says what it is connected to.</param>
    public DeviceHostBuilder AddVirtioNet(string name, Action<VirtioNetOptions> configure)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        ArgumentNullException.ThrowIfNull(configure);
        Services.AddOptions<VirtioNetOptions>(name).Configure(configure);
        _plan.Networks.Add(name);
        return AddNamed(name, provider => provider.GetRequiredService<IOptionsMonitor<VirtioNetOptions>>().Get(name).Open(name));
    }

    /// <summary>Adds a serial port.</summary>
    /// <param name="name">Names the port and its options: <c>ttyS0</c>.</param>
    /// <param name="configure">Says what it is connected to; null: COM1, to nothing.</param>
    public DeviceHostBuilder AddSerial(string name, Action<SerialPortOptions>? configure = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        Services.AddOptions<SerialPortOptions>(name).Configure(configure ?? (_ => { }));
        _plan.SerialPorts.Add(name);
        _plan.Names.Add(name);
        _plan.Steps.Add((provider, host) => host.AddSerial(name, provider.GetRequiredService<IOptionsMonitor<SerialPortOptions>>().Get(name)));
        return this;
    }

    /// <summary>Adds a source of random bytes.</summary>
    /// <param name="name">Names the device: <c>rng0</c>.</param>
    public DeviceHostBuilder AddVirtioEntropy(string name) => AddNamed(name, _ => new EntropyDevice(name));

    /// <summary>Adds a memory balloon.</summary>
    /// <param name="name">Names the device: <c>balloon0</c>.</param>
    /// <param name="targetBytes">What the guest is asked to give up from the start; see <see cref="BalloonDevice.TargetBytes"/>.</param>
    public DeviceHostBuilder AddVirtioBalloon(string name, ulong targetBytes = 0) =>
        AddNamed(name, _ => new BalloonDevice(name) { TargetBytes = targetBytes });

    /// <summary>Adds a console.</summary>
    /// <param name="name">Names the device: <c>console0</c>.</param>
    /// <param name="ports">Its ports, connected before or later.</param>
    public DeviceHostBuilder AddVirtioConsole(string name, params ConsolePort[] ports)
    {
        ConsoleDevice.Validate(name, ports);
        return AddNamed(name, _ => new ConsoleDevice(name, ports));
    }

    /// <summary>Adds sockets between guest and host: see <see cref="VsockDevice"/>.</summary>
    /// <param name="cid">The guest's context id, <see cref="VsockDevice.CidMin"/> or more.</param>
    /// <param name="uds">The Unix socket the host connects to; with <c>_</c> and a port, those the guest reaches.</param>
    /// <param name="options">What it may cost; null for the defaults.</param>
    public DeviceHostBuilder AddVsock(uint cid, string uds, VsockDeviceOptions? options = null)
    {
        string name = $"vsock{_plan.Vsocks++}";
        VsockDevice.Validate(name, cid, uds);
        return AddNamed(name, _ => new VsockDevice(name, cid, uds, options));
    }

    /// <summary>Adds a device of any kind.</summary>
    /// <param name="make">Makes it when the host is made; the host disposes it.</param>
    public DeviceHostBuilder AddDevice(Func<IServiceProvider, VirtioDevice> make)
    {
        ArgumentNullException.ThrowIfNull(make);
        _plan.Steps.Add((provider, host) =>
        {
            VirtioDevice device = make(provider);
            try
            {
                host.Add(device);
            }
            catch
            {
                device.Dispose();
                throw;
            }
        });
        return this;
    }

    private DeviceHostBuilder AddNamed(string name, Func<IServiceProvider, VirtioDevice> make)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        _plan.Names.Add(name);
        return AddDevice(make);
    }
}
