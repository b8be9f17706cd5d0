using System.CommandLine;
using Vmm.Devices;

namespace Vmm.Tool;

/// <summary><c>--balloon</c>: a memory balloon.</summary>
/// <param name="standard">Whether there is one if nothing is said.</param>
internal sealed class BalloonOption(bool standard) : DeviceOption
{
    private readonly Option<bool> _balloon = new("--balloon")
    {
        HelpName = "true|false",
        Description = "A memory balloon.",
        DefaultValueFactory = _ => standard,
    };

    internal override IReadOnlyList<Option> Options => [_balloon];

    internal override IEnumerable<DeviceRequest> Read(ParseResult parsed, int vcpus) =>
        parsed.GetValue(_balloon) ? [new DeviceRequest(() => new BalloonDevice("balloon0"))] : [];
}
