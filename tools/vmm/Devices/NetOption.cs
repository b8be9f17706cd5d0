using System.CommandLine;
using Vmm.Devices;

namespace Vmm.Tool;

/// <summary><c>--net</c>: network cards, each on a TAP interface of the host or on a socket that leads to another process.</summary>
internal sealed class NetOption : DeviceOption
{
    private readonly Option<string[]> _networks = new("--net")
    {
        HelpName = "tap=NAME|socket=PATH[,mac=A][,queues=N][,mtu=N]",
        Description = "A network card: on a TAP interface, or on a Unix socket, where the first of two processes to come listens. May be given several times.",
    };

    internal override Option[] Options => [_networks];

    internal override DeviceRequest[] Read(ParseResult parsed, int vcpus) => [.. (parsed.GetValue(_networks) ?? []).Select(Read)];

    private static DeviceRequest Read(string text, int index)
    {
        DeviceArgument argument = DeviceArgument.Parse("--net", text, ["tap", "socket", "mac", "queues", "mtu"]);
        string tap = argument.Optional("tap", ""), socket = argument.Optional("socket", "");
        if ((tap.Length > 0) == (socket.Length > 0)) throw argument.Refused("give either 'tap=…' or 'socket=…', what the card is connected to");
        int? mtu = argument.Optional("mtu", "").Length > 0 ? argument.RequiredNumber("mtu", NetDeviceOptions.MtuMin, NetDeviceOptions.MtuMax) : null;
        NetDeviceOptions options = new() { QueuePairs = Queues(argument), Mac = Mac(argument), Mtu = mtu };
        return Request($"net{index}", () => tap.Length > 0 ? TapInterface.Open(tap, options.QueuePairs) : NetSocket.Open(socket), options, argument);
    }

    /// <summary>How many queue pairs an argument asks for.</summary>
    internal static int Queues(DeviceArgument argument) => argument.Number("queues", 1, NetDeviceOptions.QueuePairsMax, standard: 1);

    /// <summary>A card on a network that is opened with it.</summary>
    internal static DeviceRequest Request(string name, Func<INetBackend> open, NetDeviceOptions options, DeviceArgument argument) => new(() =>
    {
        INetBackend backend = open();
        try
        {
            return new NetDevice(name, backend, options);
        }
        catch (ArgumentException refusal)
        {
            backend.Dispose();
            throw argument.Refused(refusal.Message);
        }
    });

    private static MacAddress? Mac(DeviceArgument argument)
    {
        string text = argument.Optional("mac", "");
        if (text.Length == 0) return null;
        return MacAddress.TryParse(text, out MacAddress mac) ? mac : throw argument.Refused($"'mac={text}': give six bytes such as 02:00:00:00:00:01");
    }
}
