namespace Vmm.EndToEnd;

/// <summary>A network without root: Debian's passt at the other end of a card's cable, which makes ordinary sockets of the guest's frames.</summary>
[Tried("passt", "passt", "0.0~git20230309", Devices = "network (as its other end)", Result = "works, TCP and ping",
    HowTo = "`passt --socket P` and `vmm run --net uds=P`: docs/network.md")]
public sealed class PasstTests
{
    private const string Passt = "/usr/bin/passt";

    [Fact]
    public void A_simulated_guest_pings_through_passt()
    {
        using ScratchDirectory scratch = new();
        using NetworkNamespace network = Network();
        using VmmProcess passt = Start(network, scratch);
        VmmResult result = VmmProcess.Run("run", "--net", $"uds={scratch.PathOf("passt/s")}", "--exec", "net ip 10.77.0.2/24; net ping 10.77.0.1 3; poweroff");
        Assert.True(result.ExitCode == 0, result.Output + result.Error);
        Assert.Contains("ping 10.77.0.1: 3 of 3 answered", result.Lines);
    }

    [Fact]
    public void A_linux_guest_connects_to_the_host_through_passt()
    {
        UmlGuest.SkipIfMissing();
        using ScratchDirectory scratch = new();
        using NetworkNamespace network = Network();
        using NetPeers host = new(network, downBytes: 0);
        using VmmProcess passt = Start(network, scratch);
        string socket = scratch.PathOf("net");
        using VmmProcess vmm = UmlGuest.Serve([], "--net", $"socket={socket},uds={scratch.PathOf("passt/s")}");
        using UmlGuest guest = new("netecho", UmlGuest.NetAt(socket));
        string[] console = guest.WaitForPowerOff();
        // A ping, and ten connections whose bytes come back compared.
        Assert.True(console.Contains("vmm-test netecho passed"), string.Join('\n', console));
        vmm.Signal("TERM");
        Assert.Equal(0, vmm.WaitForExit().ExitCode);
    }

    /// <summary>A network with a way out, where everyone may ping. Its own address is what the guests reach through passt.</summary>
    private static NetworkNamespace Network()
    {
        Assert.SkipUnless(File.Exists(Passt), $"{Passt} is not there: tools/test.sh installs it");
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "a network of its own needs root");
        NetworkNamespace network = new();
        network.Execute("ip", "link", "set", "lo", "up");
        network.AddTap("out", "10.77.0.1/24");
        network.Execute("ip", "route", "add", "default", "via", "10.77.0.254");
        network.Execute("sysctl", "-q", "-w", "net.ipv4.ping_group_range=0 65534");
        return network;
    }

    private static VmmProcess Start(NetworkNamespace network, ScratchDirectory scratch)
    {
        // Where it is started by root it becomes 'nobody', who makes the socket.
        File.SetUnixFileMode(scratch.Path, (UnixFileMode)0b111_101_101);
        Shell.Run("install", "-d", "-o", "nobody", scratch.PathOf("passt"));
        VmmProcess passt = VmmProcess.Of([.. network.Wrapper, Passt, "--foreground", "--socket", scratch.PathOf("passt/s"), "--ipv4-only",
            "--address", "10.77.0.2", "--netmask", "24", "--gateway", "10.77.0.254"]);
        Assert.True(SpinWait.SpinUntil(() => File.Exists(scratch.PathOf("passt/s")) || passt.HasEnded, TimeSpan.FromMinutes(1)), "passt makes no socket");
        Assert.False(passt.HasEnded, "passt has ended");
        return passt;
    }
}
