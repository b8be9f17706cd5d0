using System.CommandLine;
using Vmm.Devices;

namespace Vmm.Tool;

/// <summary><c>--balloon</c>: a memory balloon, and what the host wants of it.</summary>
/// <param name="standard">Whether there is one if nothing is said.</param>
internal sealed class BalloonOption(bool standard) : DeviceOption
{
    /// <summary>As much as the device's 32 bits of pages can say.</summary>
    private const int TargetMebibytesMax = (1 << 24) - 1;

    private readonly Option<string?> _balloon = new("--balloon")
    {
        HelpName = "true|false|target=MIB",
        Description = "A memory balloon; the guest is asked to give 'target' MiB of its memory back to the host.",
        Arity = ArgumentArity.ZeroOrOne,
        DefaultValueFactory = _ => standard ? "true" : "false",
    };

    internal override Option[] Options => [_balloon];

    internal override DeviceRequest[] Read(ParseResult parsed, int vcpus)
    {
        string text = parsed.GetValue(_balloon) ?? "true";
        if (text == "false") return [];
        DeviceArgument argument = DeviceArgument.Parse("--balloon", text, ["target"], "true", "false");
        if (argument.Has("false")) return [];
        ulong target = (ulong)argument.Number("target", 0, TargetMebibytesMax, standard: 0) << 20;
        return [new DeviceRequest(() => new BalloonDevice("balloon0") { TargetBytes = target })];
    }
}
