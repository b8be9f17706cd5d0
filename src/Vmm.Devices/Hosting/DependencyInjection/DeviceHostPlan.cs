using Microsoft.Extensions.Options;

namespace Vmm.Devices;

/// <summary>What <see cref="DeviceHostBuilder"/> was told, until a host is made of it.</summary>
internal sealed class DeviceHostPlan
{
    /// <summary>Makes and adds the devices, in the order they were named.</summary>
    internal List<Action<IServiceProvider, DeviceHost>> Steps { get; } = [];

    /// <summary>Every name that was given, as often as it was given.</summary>
    internal List<string> Names { get; } = [];

    internal List<string> Disks { get; } = [];

    internal List<string> Networks { get; } = [];

    internal List<string> SerialPorts { get; } = [];

    /// <summary>How many socket devices there are: they are named by number.</summary>
    internal int Vsocks { get; set; }
}

/// <summary>Finds what is wrong with the host and all its devices at the start of the application, before anything runs.</summary>
internal sealed class DeviceHostValidation(
    DeviceHostPlan plan, IOptionsMonitor<VirtioBlockOptions> disks, IOptionsMonitor<VirtioNetOptions> networks, IOptionsMonitor<SerialPortOptions> serialPorts) : IValidateOptions<DeviceHostOptions>
{
    public ValidateOptionsResult Validate(string? name, DeviceHostOptions options)
    {
        List<string> failures = [.. options.Failures(), .. Twice(plan.Names)];
        failures.AddRange(plan.SerialPorts.SelectMany(port => serialPorts.Get(port).Failures(port)));
        failures.AddRange(plan.Networks.Distinct().Select(network => networks.Get(network).Failure(network)).OfType<string>());
        failures.AddRange(plan.SerialPorts.GroupBy(port => serialPorts.Get(port).Port).Where(group => group.Count() > 1)
            .Select(group => $"serial ports '{string.Join("' and '", group)}' are both at port 0x{group.Key:x}: give each one of its own"));
        Dictionary<FileIdentity, string> seen = [];
        foreach (string disk in plan.Disks.Distinct())
        {
            VirtioBlockOptions wanted = disks.Get(disk);
            if (wanted.Failure(disk, out FileIdentity? identity) is { } failure) failures.Add(failure);
            else if (identity is { } file && !seen.TryAdd(file, disk))
                failures.Add($"disks '{seen[file]}' and '{disk}' are the same file, '{wanted.Path}': give each an image of its own");
        }
        return failures.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(failures);
    }

    private static IEnumerable<string> Twice(IEnumerable<string> names) =>
        names.GroupBy(name => name).Where(group => group.Count() > 1).Select(group => $"two devices are called '{group.Key}': give each a name of its own");
}
