using System.CommandLine;
using Vmm.Devices;

namespace Vmm.Tool;

/// <summary><c>--console</c>: the ports of a virtio console.</summary>
internal sealed class ConsoleOption : DeviceOption
{
    private readonly Option<string[]> _ports = new("--console")
    {
        HelpName = "pty|uds=PATH|file=PATH|terminal[,name=NAME]",
        Description = "A port of a virtio console, and where it leads on this host; may be given several times. The first is the console, the others are ports by their names.",
    };

    internal override Option[] Options => [_ports];

    internal override DeviceRequest[] Read(ParseResult parsed, int vcpus)
    {
        string[] texts = parsed.GetValue(_ports) ?? [];
        if (texts.Length == 0) return [];
        if (texts.Length > ConsoleDevice.PortsMax) throw new UsageException($"--console was given {texts.Length} times: a console has room for {ConsoleDevice.PortsMax} ports");
        ConsoleWay[] ways = [.. texts.Select((text, i) => ConsoleWay.Parse(text, i))];
        if (ways.GroupBy(way => way.Port.Name).FirstOrDefault(group => group.Count() > 1) is { } twins)
            throw new UsageException($"--console: two ports are called '{twins.Key}': give each a name of its own");
        if (ways.Count(way => way.IsTerminal) > 1) throw new UsageException("--console terminal was given more than once: there is one terminal");
        return [ConsoleWay.Request("console0", ways)];
    }
}
