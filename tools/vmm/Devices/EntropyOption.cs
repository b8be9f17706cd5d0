using System.CommandLine;
using Vmm.Devices;

namespace Vmm.Tool;

/// <summary><c>--rng</c>: an entropy device.</summary>
/// <param name="standard">Whether there is one if nothing is said.</param>
internal sealed class EntropyOption(bool standard) : DeviceOption
{
    private readonly Option<bool> _entropy = new("--rng")
    {
        HelpName = "true|false",
        Description = "An entropy device.",
        DefaultValueFactory = _ => standard,
    };

    internal override Option[] Options => [_entropy];

    internal override DeviceRequest[] Read(ParseResult parsed, int vcpus) =>
        parsed.GetValue(_entropy) ? [new DeviceRequest(() => new EntropyDevice("rng0"))] : [];
}
