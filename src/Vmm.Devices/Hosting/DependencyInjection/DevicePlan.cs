using System.Diagnostics.CodeAnalysis;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;

namespace Vmm.Devices;

/// <summary>The devices that a container was given, until a host or a server is made of them.</summary>
internal class DevicePlan
{
    /// <summary>Every name that was given, as often as it was given.</summary>
    internal List<string> Names { get; } = [];

    /// <summary>The devices that are described by a spec.</summary>
    private List<(string Name, Func<IServiceProvider, DeviceSpec> Spec)> Specs { get; } = [];

    /// <summary>Plans a device that is described by a spec: named options, which the application may configure further.</summary>
    /// <returns>Gives the spec when the device is made.</returns>
    internal Func<IServiceProvider, TSpec> Describe<
        [DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicParameterlessConstructor)] TSpec>(
        IServiceCollection services, string name, Action<TSpec>? configure) where TSpec : DeviceSpec
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        services.AddOptions<TSpec>(name).Configure(configure ?? (_ => { }));
        TSpec Described(IServiceProvider provider) => provider.GetRequiredService<IOptionsMonitor<TSpec>>().Get(name);
        Names.Add(name);
        Specs.Add((name, Described));
        return Described;
    }

    /// <summary>What is wrong with the devices, each a sentence. Nothing is opened: they may be running already.</summary>
    internal IEnumerable<string> Failures(IServiceProvider provider)
    {
        foreach (IGrouping<string, string> twice in Names.GroupBy(name => name).Where(group => group.Count() > 1))
            yield return $"two devices are called '{twice.Key}': give each a name of its own";
        Dictionary<FileIdentity, string> disks = [];
        foreach ((string device, Func<IServiceProvider, DeviceSpec> described) in Specs.DistinctBy(each => each.Name))
        {
            DeviceSpec spec = described(provider);
            string[] wrong = [.. spec.Failures(device)];
            foreach (string failure in wrong) yield return failure;
            if (wrong.Length > 0 || spec is not DiskSpec disk || disk.FileBehind is not { } file) continue;
            if (!disks.TryAdd(file, device))
                yield return $"disks '{disks[file]}' and '{device}' are the same file, '{disk.Path}': give each an image of its own";
        }
    }
}
