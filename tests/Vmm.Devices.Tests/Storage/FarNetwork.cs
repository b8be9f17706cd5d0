using System.Net;

namespace Vmm.Devices.Tests;

/// <summary>Another network (network_namespaces(7)), at the end of a cable that can be pulled out.</summary>
internal sealed class FarNetwork : IDisposable
{
    private const string Near = "near", Far = "far";

    private readonly NetworkNamespace _network = new();
    private readonly string _near;

    internal FarNetwork()
    {
        // A subnet of those for documentation and tests (RFC 2544), which no host has.
        string subnet = $"198.18.{Random.Shared.Next(256)}";
        Address = IPAddress.Parse($"{subnet}.2");
        _near = $"{Near}{_network.Name[4..]}";
        Ip("link", "add", _near, "type", "veth", "peer", "name", Far, "netns", _network.Name);
        Ip("addr", "add", $"{subnet}.1/24", "dev", _near);
        Ip("link", "set", _near, "up");
        _network.Execute("ip", "addr", "add", $"{Address}/24", "dev", Far);
        _network.Execute("ip", "link", "set", "lo", "up");
        _network.Execute("ip", "link", "set", Far, "up");
    }

    /// <summary>Of whatever runs there.</summary>
    internal IPAddress Address { get; }

    /// <summary>What a command has to be run under to be there.</summary>
    internal string[] Wrapper => _network.Wrapper;

    internal static void SkipWithoutPrivilege() =>
        Assert.SkipUnless(Environment.IsPrivilegedProcess && File.Exists("/usr/sbin/ip"), "a network of its own needs root and iproute2");

    /// <summary>Pulls the cable out: what is sent is lost.</summary>
    internal void Unplug() => _network.Execute("ip", "link", "set", Far, "down");

    internal void Plug() => _network.Execute("ip", "link", "set", Far, "up");

    public void Dispose()
    {
        Ip("link", "del", _near);
        _network.Dispose();
    }

    private static void Ip(params string[] arguments) => HostCommand.Check("ip", arguments);
}
