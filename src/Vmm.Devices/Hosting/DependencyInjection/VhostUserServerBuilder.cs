using System.Diagnostics.CodeAnalysis;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;
using Vmm.Devices.VhostUser;

namespace Vmm.Devices;

/// <summary>Names the devices of a vhost-user server that the container makes, each with the socket where it is served.</summary>
public sealed class VhostUserServerBuilder
{
    private readonly VhostUserServerPlan _plan;

    internal VhostUserServerBuilder(IServiceCollection services, VhostUserServerPlan plan)
    {
        Services = services;
        _plan = plan;
    }

    /// <summary>The services the server is registered in.</summary>
    public IServiceCollection Services { get; }

    /// <summary>Serves a disk.</summary>
    /// <param name="name">Names the disk and its options: <c>disk0</c>.</param>
    /// <param name="socketPath">Where front-ends connect; at most 107 bytes.</param>
    /// <param name="configure">Says where its bytes are.</param>
    public VhostUserServerBuilder AddVirtioBlock(string name, string socketPath, Action<DiskSpec> configure) =>
        AddVirtio(name, socketPath, configure);

    /// <summary>Serves a network card.</summary>
    /// <param name="name">Names the card and its options: <c>net0</c>.</param>
    /// <param name="socketPath">Where front-ends connect; at most 107 bytes.</param>
    /// <param name="configure">Says what it is connected to.</param>
    public VhostUserServerBuilder AddVirtioNet(string name, string socketPath, Action<NetSpec> configure) =>
        AddVirtio(name, socketPath, configure);

    /// <summary>Serves a device that is described by a spec of its kind: the same that the command line reads.</summary>
    /// <param name="name">Names the device and its options.</param>
    /// <param name="socketPath">Where front-ends connect; at most 107 bytes.</param>
    /// <param name="configure">Describes it.</param>
    public VhostUserServerBuilder AddVirtio<
        [DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicParameterlessConstructor)] TSpec>(
        string name, string socketPath, Action<TSpec>? configure = null) where TSpec : DeviceSpec
    {
        ArgumentException.ThrowIfNullOrEmpty(socketPath);
        _plan.Steps.Add(DeviceSteps.Adding<VhostUserServer, TSpec>(
            _plan.Describe(Services, name, configure), (server, spec) => server.Add(name, spec, socketPath)));
        return this;
    }

    /// <summary>Serves a device of any kind.</summary>
    /// <param name="socketPath">Where front-ends connect; at most 107 bytes.</param>
    /// <param name="make">Makes it when the server is made; the server disposes it.</param>
    public VhostUserServerBuilder AddDevice(string socketPath, Func<IServiceProvider, VirtioDevice> make)
    {
        ArgumentException.ThrowIfNullOrEmpty(socketPath);
        _plan.Steps.Add(DeviceSteps.Adding<VhostUserServer>(make, (server, device) => server.Add(device, socketPath)));
        return this;
    }
}

/// <summary>What <see cref="VhostUserServerBuilder"/> was given, until a server is made of it.</summary>
internal sealed class VhostUserServerPlan : DevicePlan
{
    /// <summary>Makes and adds the devices, in the order they were named.</summary>
    internal List<Action<IServiceProvider, VhostUserServer>> Steps { get; } = [];
}

/// <summary>Finds what is wrong with the server and its devices at the start of the application, before anything runs.</summary>
internal sealed class VhostUserServerValidation(VhostUserServerPlan plan, IServiceProvider provider)
    : IValidateOptions<VhostUserServerOptions>
{
    public ValidateOptionsResult Validate(string? name, VhostUserServerOptions options)
    {
        string[] failures = [.. options.Failures(), .. plan.Failures(provider)];
        return failures.Length == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(failures);
    }
}
