namespace Vmm.EndToEnd;

/// <summary><c>vmm serve --net</c> and a stock Linux guest in QEMU, on a TAP in a network of the test's own; everything compared by both sides.</summary>
[Tried("QEMU, with a Debian kernel", "qemu-system-x86", "7.2",
    Devices = "network", Result = "works, several queues, reconnect", HowTo = "docs/network.md")]
public sealed class NetServeTests
{
    private const int DownBytes = 48 << 20;

    [Theory]
    [InlineData(1, 1)]
    [InlineData(2, 2)]
    public void A_linux_guest_reaches_the_host_and_both_sides_agree(int queues, int reactors)
    {
        QemuGuest.SkipIfMissing();
        NetworkNamespace.SkipWithoutPrivilege();
        using ScratchDirectory scratch = new();
        using NetworkNamespace network = new();
        network.AddTap("tap0", "10.77.0.1/24", queues > 1 ? ["multi_queue"] : []);
        using NetPeers host = new(network, DownBytes);
        string socket = scratch.PathOf("net.sock");
        using VmmProcess vmm = new(network.Wrapper, ["serve", "--net", $"socket={socket},tap=tap0,queues={queues}", "--reactors", $"{reactors}"]);
        vmm.WaitFor($"listening net {socket}");

        using QemuGuest guest = new("net", processors: queues, QemuGuest.Net(socket, queues, mtu: 1400));
        string[] console = guest.WaitForPowerOff();
        Assert.True(console.Contains("vmm-test net passed"), string.Join('\n', console));
        Assert.Contains($"vmm-net mtu 1400 queues {queues} carrier 1", console);
        Assert.Contains($"vmm-net down {host.Down}", console);
        Assert.True(host.Up.IsCompletedSuccessfully);
        Assert.Contains($"vmm-net up {host.Up.Result}", console);
        Assert.Equal(4, console.Count(line => line == "vmm-net connections 50"));
        Assert.Contains("vmm-log clean", console);

        vmm.Signal("TERM");
        VmmResult result = vmm.WaitForExit();
        Assert.True(result.ExitCode == 0, result.Error);
        Assert.DoesNotContain("fault", result.Error, StringComparison.Ordinal);
        Assert.False(File.Exists(socket));
    }

    [Fact]
    public void Connections_outlive_a_killed_server_that_comes_back()
    {
        const int Kills = 3;
        QemuGuest.SkipIfMissing();
        NetworkNamespace.SkipWithoutPrivilege();
        Random random = new(Environment.TickCount);
        using ScratchDirectory scratch = new();
        using NetworkNamespace network = new();
        network.AddTap("tap0", "10.77.0.1/24");
        using NetPeers host = new(network, downBytes: 0);
        string socket = scratch.PathOf("net.sock");
        using RestartedVmm vmm = new(network.Wrapper, $"listening net {socket}", "serve", "--net", $"socket={socket},tap=tap0");
        using QemuGuest guest = new("net-crash", processors: 1, QemuGuest.Net(socket, queues: 1, mtu: 1500));
        guest.WaitFor("vmm-writing");
        while (vmm.Kills < Kills && !guest.HasEnded)
        {
            Thread.Sleep(random.Next(200, 1500));
            vmm.KillAndStartAgain();
        }
        string[] console = guest.WaitForPowerOff();
        Assert.True(console.Contains("vmm-test net-crash passed"), $"after {vmm.Kills} kills:\n{string.Join('\n', console)}");
        Assert.Equal(6, console.Count(line => line == "vmm-net connections 8"));
        Assert.Contains("vmm-log clean", console);
        Assert.True(vmm.Kills > 0, "the guest was done before anything was killed");
        vmm.Current.Signal("TERM");
        Assert.Equal(0, vmm.Current.WaitForExit().ExitCode);
    }

    [Theory]
    [InlineData("socket=/tmp/s")]
    [InlineData("socket=/tmp/s,tap=t,queues=0")]
    [InlineData("socket=/tmp/s,tap=t,colour=red")]
    public void A_network_that_makes_no_sense_is_a_usage_error(string net)
    {
        VmmResult result = VmmProcess.Run("serve", "--net", net);
        Assert.Equal(2, result.ExitCode);
        Assert.StartsWith("vmm: ", result.Error);
    }

    [Fact]
    public void A_tap_that_cannot_be_had_is_told_in_a_sentence()
    {
        using ScratchDirectory scratch = new();
        VmmResult result = VmmProcess.RunWithoutCapabilities("serve", "--net", $"socket={scratch.PathOf("s")},tap=vmm-no-tap");
        Assert.Equal(1, result.ExitCode);
        Assert.Contains("ip tuntap add", result.Error);
        Assert.DoesNotContain("   at ", result.Error);
    }
}
