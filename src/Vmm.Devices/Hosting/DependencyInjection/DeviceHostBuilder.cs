using System.Diagnostics.CodeAnalysis;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;

namespace Vmm.Devices;

/// <summary>
/// Names the devices of a host that the container makes. They get registers and interrupt lines in the order they are named.
/// </summary>
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

    /// <summary>
    /// Puts the devices on a board of your own: a KVM machine's, say. Without this it is a <see cref="Simulation.SimulatedBoard"/> of 256
    /// MiB.
    /// </summary>
    /// <param name="make">Makes the board when the host is made; the host disposes it.</param>
    public DeviceHostBuilder OnBoard(Func<IServiceProvider, IMachineBoard> make)
    {
        ArgumentNullException.ThrowIfNull(make);
        _plan.Board = make;
        return this;
    }

    /// <summary>Adds a disk on a raw image.</summary>
    /// <param name="name">Names the disk and its options: <c>vda</c>.</param>
    /// <param name="configure">Says where the image is.</param>
    public DeviceHostBuilder AddVirtioBlock(string name, Action<DiskSpec> configure) => AddVirtio(name, configure);

    /// <summary>Adds a network card on a TAP interface or on a socket.</summary>
    /// <param name="name">Names the card and its options: <c>net0</c>.</param>
    /// <param name="configure">Says what it is connected to.</param>
    public DeviceHostBuilder AddVirtioNet(string name, Action<NetSpec> configure) => AddVirtio(name, configure);

    /// <summary>Adds a device that is described by a spec of its kind: the same that the command line reads.</summary>
    /// <param name="name">Names the device and its options.</param>
    /// <param name="configure">Describes it.</param>
    public DeviceHostBuilder AddVirtio<[DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicParameterlessConstructor)] TSpec>(
        string name, Action<TSpec>? configure = null) where TSpec : DeviceSpec
    {
        _plan.Steps.Add(DeviceSteps.Adding<DeviceHost, TSpec>(
            _plan.Describe(Services, name, configure), (host, spec) => host.Add(name, spec)));
        return this;
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
        _plan.Steps.Add((provider, host) =>
            host.AddSerial(name, provider.GetRequiredService<IOptionsMonitor<SerialPortOptions>>().Get(name)));
        return this;
    }

    /// <summary>Adds a source of random bytes.</summary>
    /// <param name="name">Names the device: <c>rng0</c>.</param>
    public DeviceHostBuilder AddVirtioEntropy(string name) => AddVirtio<EntropySpec>(name);

    /// <summary>Adds a memory balloon.</summary>
    /// <param name="name">Names the device: <c>balloon0</c>.</param>
    /// <param name="targetBytes">What the guest is asked to give up from the start; see <see cref="BalloonDevice.TargetBytes"/>.</param>
    public DeviceHostBuilder AddVirtioBalloon(string name, ulong targetBytes = 0) =>
        AddVirtio<BalloonSpec>(name, balloon => balloon.TargetBytes = targetBytes);

    /// <summary>Adds a console with ports of your own.</summary>
    /// <param name="name">Names the device: <c>console0</c>.</param>
    /// <param name="ports">Its ports, connected before or later.</param>
    public DeviceHostBuilder AddVirtioConsole(string name, params ConsolePort[] ports)
    {
        ConsoleDevice.Validate(name, ports);
        _plan.Names.Add(name);
        return AddDevice(_ => new ConsoleDevice(name, ports));
    }

    /// <summary>Adds sockets between guest and host: see <see cref="VsockDevice"/>.</summary>
    /// <param name="name">Names the device: <c>vsock0</c>.</param>
    /// <param name="configure">Says its context id and its socket.</param>
    public DeviceHostBuilder AddVsock(string name, Action<VsockSpec> configure) => AddVirtio(name, configure);

    /// <summary>Adds a device of any kind.</summary>
    /// <param name="make">Makes it when the host is made; the host disposes it.</param>
    public DeviceHostBuilder AddDevice(Func<IServiceProvider, VirtioDevice> make)
    {
        _plan.Steps.Add(DeviceSteps.Adding<DeviceHost>(make, (host, device) => host.Add(device)));
        return this;
    }
}
