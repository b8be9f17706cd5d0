using System.CommandLine;
using Vmm.Devices;
using Vmm.Events;

namespace Vmm.Tool;

/// <summary><c>--console</c>: a virtio console, led to a terminal or a Unix socket of the host.</summary>
internal sealed class ConsoleOption : DeviceOption
{
    private readonly Option<string?> _console = new("--console")
    {
        HelpName = "pty|uds=PATH",
        Description = "A virtio console, reached at a terminal or a Unix socket of this host.",
    };

    internal override IReadOnlyList<Option> Options => [_console];

    internal override IEnumerable<DeviceRequest> Read(ParseResult parsed, int vcpus) =>
        parsed.GetValue(_console) is { } text ? [Request("console0", DeviceArgument.Parse("--console", text, ["uds"], "pty"))] : [];

    /// <summary>A console as its argument describes it: with either <c>pty</c> or <c>uds=PATH</c>.</summary>
    internal static DeviceRequest Request(string name, DeviceArgument argument)
    {
        string uds = argument.Optional("uds", "");
        if (argument.Has("pty") == (uds.Length > 0)) throw argument.Refused("give either 'pty' or 'uds=…', where the guest's console can be reached");
        ConsolePort port = new("console", isConsole: true);
        return new DeviceRequest(() => new ConsoleDevice(name, port), reactor => uds.Length > 0 ? new ConsoleListener(port, uds, reactor) : OpenTerminal(name, port));
    }

    private static PseudoTerminal OpenTerminal(string name, ConsolePort port)
    {
        PseudoTerminal terminal = new();
        terminal.Connect(port);
        Console.WriteLine($"terminal {name} {terminal.Path}");
        return terminal;
    }
}
