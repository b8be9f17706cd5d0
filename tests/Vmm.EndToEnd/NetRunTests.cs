namespace Vmm.EndToEnd;

/// <summary><c>vmm run --net</c>: a simulated guest on a network, met from outside with ordinary programs.</summary>
public sealed class NetRunTests
{
    [Fact]
    public void The_host_pings_the_guest_and_files_go_both_ways()
    {
        NetworkNamespace.SkipWithoutPrivilege();
        using ScratchDirectory scratch = new();
        using NetworkNamespace network = new();
        network.AddTap("tap0", "10.77.0.1/24");
        string up = scratch.CreateImage("up", 8 << 20), down = scratch.PathOf("down");
        using VmmProcess vmm = new(network.Wrapper,
        [
            "run", "--net", "tap=tap0,mac=02:00:00:00:00:02", "--exec",
            // The host's kernel may take a second until it sends on an interface whose carrier has come: the guest asks after the host has.
            "net ip 10.77.0.2/24; net send 8M 7; net ping 10.77.0.1 3; net recv; net; poweroff",
        ]);
        vmm.WaitFor("waiting for a host at tftp://10.77.0.2/");
        Assert.Contains(" 0% packet loss", network.Execute("ping", "-c", "5", "-i", "0.2", "10.77.0.2"));
        network.Execute("curl", "-s", "-m", "120", "--tftp-blksize", "1400", "-o", down, "tftp://10.77.0.2/down");
        vmm.WaitFor("sent 8388608 bytes");
        network.Execute("curl", "-s", "-m", "120", "-T", up, "tftp://10.77.0.2/up");

        VmmResult result = vmm.WaitForExit();
        Assert.True(result.ExitCode == 0, result.Output + result.Error);
        Assert.Contains("ping 10.77.0.1: 3 of 3 answered", result.Lines);
        Assert.Contains($"sent {8 << 20} bytes sha256 {ScratchDirectory.Sha256(down)}", result.Lines);
        Assert.Contains($"received {8 << 20} bytes sha256 {ScratchDirectory.Sha256(up)}", result.Lines);
        Assert.Contains(result.Lines, line => line.StartsWith("net0: 02:00:00:00:00:02, mtu 1500, link up, 10.77.0.2/24, 5 pings answered", StringComparison.Ordinal));
    }

    [Fact]
    public void Two_machines_on_one_socket_reach_each_other()
    {
        using ScratchDirectory scratch = new();
        string socket = scratch.PathOf("cable"), capture = scratch.PathOf("net.pcap");
        using VmmProcess first = new("run", "--net", $"socket={socket}");
        first.Input.WriteLine("net ip 10.0.0.1/24; net");
        first.Input.Flush();
        first.WaitFor("10.0.0.1/24");
        VmmResult second = VmmProcess.Run("run", "--net", $"socket={socket},mtu=9000,pcap={capture}", "--exec", "net ip 10.0.0.2/24; net ping 10.0.0.1 5; poweroff");
        Assert.True(second.ExitCode == 0, second.Output + second.Error);
        Assert.Contains("ping 10.0.0.1: 5 of 5 answered", second.Lines);
        string[] seen = Shell.Lines(Shell.Run("tcpdump", "-nr", capture));
        Assert.Equal(5, seen.Count(line => line.Contains("10.0.0.2 > 10.0.0.1: ICMP echo request", StringComparison.Ordinal)));
        Assert.Equal(5, seen.Count(line => line.Contains("10.0.0.1 > 10.0.0.2: ICMP echo reply", StringComparison.Ordinal)));
        first.Input.WriteLine("poweroff");
        first.Input.Close();
        Assert.Equal(0, first.WaitForExit().ExitCode);
        Assert.False(File.Exists(socket));
    }

    [Fact]
    public void A_socket_speaks_as_QEMUs_own_networks_do()
    {
        QemuGuest.SkipIfMissing();
        using ScratchDirectory scratch = new();
        string socket = scratch.PathOf("cable");
        using VmmProcess vmm = new("run", "--net", $"socket={socket}");
        vmm.Input.WriteLine("net ip 10.77.0.1/24; net");
        vmm.Input.Flush();
        vmm.WaitFor("10.77.0.1/24");
        using QemuGuest guest = new("net-ping", processors: 1,
            "-netdev", $"stream,id=net,server=off,addr.type=unix,addr.path={socket}", "-device", "virtio-net-pci,netdev=net,romfile=");
        Assert.Contains("vmm-test net-ping passed", guest.WaitForPowerOff());
        vmm.Input.WriteLine("net; poweroff");
        vmm.Input.Close();
        VmmResult result = vmm.WaitForExit();
        Assert.Equal(0, result.ExitCode);
        Assert.Contains("3 pings answered", result.Output);
    }

    [Theory]
    [InlineData("net ip 10.0.0.1/24; net ping 10.0.0.9 1", "not every ping was answered")]
    [InlineData("net ip 10.0.0.1/24; net ping 10.1.0.9 1", "is not on the network")]
    [InlineData("net ip 10.0.0.300", "is no address")]
    [InlineData("net ping 10.0.0.9", "it has no address")]
    public void What_cannot_be_reached_is_told_in_a_sentence(string commands, string sentence)
    {
        using ScratchDirectory scratch = new();
        VmmResult result = VmmProcess.Run("run", "--net", $"socket={scratch.PathOf("cable")}", "--exec", $"{commands}; poweroff");
        Assert.Equal(1, result.ExitCode);
        Assert.Contains(sentence, result.Output);
    }

    [Theory]
    [InlineData("tap=a,socket=b")]
    [InlineData("mac=02:00:00:00:00:01")]
    [InlineData("socket=/tmp/s,mac=2:0:0:0:0:1")]
    [InlineData("socket=/tmp/s,mtu=67")]
    public void A_network_that_makes_no_sense_is_a_usage_error(string net)
    {
        VmmResult result = VmmProcess.Run("run", "--net", net, "--exec", "poweroff");
        Assert.Equal(2, result.ExitCode);
        Assert.StartsWith("vmm: ", result.Error);
    }
}
