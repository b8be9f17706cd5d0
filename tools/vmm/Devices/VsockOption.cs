using System.CommandLine;
using Vmm.Devices;

namespace Vmm.Tool;

/// <summary><c>--vsock</c>: sockets between guest and host, by way of Unix sockets.</summary>
internal sealed class VsockOption : DeviceOption
{
    private readonly TextOption _vsock = new("--vsock", "cid=N,uds=BASE",
        "Sockets of the guest: it reaches host port P at the Unix socket BASE_P, and is reached at BASE by 'CONNECT P'.");

    internal override Option[] Options => [_vsock];

    internal override DeviceRequest[] Read(ParseResult parsed, int vcpus) =>
        parsed.GetValue(_vsock) is { } text ? [Request("vsock0", DeviceArgument.Parse("--vsock", text, Keys))] : [];

    /// <summary>What describes the device.</summary>
    internal static string[] Keys => ["cid", "uds", "connections"];

    /// <summary>A vsock device as its argument describes it.</summary>
    internal static DeviceRequest Request(string name, DeviceArgument argument)
    {
        string path = argument.Required("uds");
        uint cid = (uint)argument.RequiredNumber("cid", (int)VsockDevice.CidMin, int.MaxValue);
        VsockDeviceOptions options = new();
        options = options with { ConnectionsMax = argument.Number("connections", 1, VsockDeviceOptions.ConnectionsLimit, options.ConnectionsMax) };
        return new DeviceRequest(() => Open(name, cid, path, options, argument));
    }

    private static VsockDevice Open(string name, uint cid, string path, VsockDeviceOptions options, DeviceArgument argument)
    {
        try
        {
            return new VsockDevice(name, cid, path, options);
        }
        catch (ArgumentException refusal)
        {
            throw argument.Refused(refusal.Message);
        }
    }
}
