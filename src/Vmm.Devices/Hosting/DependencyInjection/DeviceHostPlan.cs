using Microsoft.Extensions.Options;
using Vmm.Devices.Simulation;

namespace Vmm.Devices;

/// <summary>What <see cref="DeviceHostBuilder"/> collects; the host is made from it.</summary>
internal sealed class DeviceHostPlan : DevicePlan
{
    /// <summary>Makes the machine's board.</summary>
    internal Func<IServiceProvider, IMachineBoard> Board { get; set; } = _ => new SimulatedBoard();

    /// <summary>Makes and adds the devices, in the order they were named.</summary>
    internal List<Action<IServiceProvider, DeviceHost>> Steps { get; } = [];

    internal List<string> SerialPorts { get; } = [];
}

/// <summary>
/// Finds what is wrong with the host and all its devices at the start of the application, before anything runs. It opens nothing: the host
/// may hold its disks already.
/// </summary>
internal sealed class DeviceHostValidation(DeviceHostPlan plan, IServiceProvider provider, IOptionsMonitor<SerialPortOptions> serialPorts)
    : IValidateOptions<DeviceHostOptions>
{
    public ValidateOptionsResult Validate(string? name, DeviceHostOptions options)
    {
        List<string> failures = [.. options.Failures(), .. plan.Failures(provider)];
        failures.AddRange(plan.SerialPorts.SelectMany(port => serialPorts.Get(port).Failures(port)));
        failures.AddRange(plan.SerialPorts.GroupBy(port => serialPorts.Get(port).Port).Where(group => group.Count() > 1)
            .Select(group => $"serial ports '{string.Join("' and '", group)}' are both at port 0x{group.Key:x}: give each one of its own"));
        return failures.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(failures);
    }
}
