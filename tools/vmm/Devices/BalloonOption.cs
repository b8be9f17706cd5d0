using System.CommandLine;
using Vmm.Devices;

namespace Vmm.Tool;

/// <summary><c>--balloon</c>: a memory balloon, and what the host wants of it.</summary>
/// <param name="standard">Whether there is one if nothing is said.</param>
internal sealed class BalloonOption(bool standard) : DeviceOption
{
    private const int TargetMebibytesMax = (int)(BalloonDevice.TargetBytesMax >> 20);

    private readonly TextOption _balloon = new("--balloon", "true|false|[target=MIB][,control=PATH]",
        "A memory balloon; the guest is asked to give 'target' MiB of its memory back to the host. Lines such as 'target 64' to the Unix socket 'control' change that.")
    {
        Arity = ArgumentArity.ZeroOrOne,
        DefaultValueFactory = _ => standard ? "true" : "false",
    };

    internal override Option[] Options => [_balloon];

    internal override DeviceRequest[] Read(ParseResult parsed, int vcpus)
    {
        string text = parsed.GetValue(_balloon)!;
        if (text == "false") return [];
        if (text.Length == 0) text = "true";
        DeviceArgument argument = DeviceArgument.Parse("--balloon", text, ["target", "control"], "true", "false");
        if (argument.Has("false")) return [];
        ulong target = (ulong)argument.Number("target", 0, TargetMebibytesMax, standard: 0) << 20;
        string control = argument.Optional("control", "");
        BalloonDevice? balloon = null;
        return
        [
            new DeviceRequest(
                () => balloon = new BalloonDevice("balloon0") { TargetBytes = target },
                control.Length > 0 ? reactor => new BalloonControl(balloon!, control, reactor) : null),
        ];
    }
}
