using System.CommandLine;
using Vmm.Devices;

namespace Vmm.Tool;

/// <summary><c>--rng</c>: an entropy device.</summary>
/// <param name="standard">Whether there is one if nothing is said.</param>
internal sealed class EntropyOption(bool standard) : DeviceOption
{
    private readonly SwitchOption _entropy = new("--rng", "An entropy device.", standard);

    internal override Option[] Options => [_entropy];

    internal override DeviceRequest[] Read(ParseResult parsed, int vcpus) =>
        _entropy.In(parsed) ? [new DeviceRequest(() => new EntropyDevice("rng0"))] : [];
}
