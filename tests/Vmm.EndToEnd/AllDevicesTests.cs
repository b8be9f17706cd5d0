namespace Vmm.EndToEnd;

/// <summary>Every device that <c>vmm serve</c> has for QEMU, all in one guest and in one process, all at work at the same time.</summary>
[Tried("QEMU, with a Debian kernel", "qemu-system-x86", "7.2",
    Devices = "disk, network, vsock, entropy at once", Result = "works", HowTo = "docs/vhost-user.md")]
public sealed class AllDevicesTests
{
    private const long MiB = 1 << 20;

    [Fact]
    public void One_process_serves_disk_network_sockets_and_entropy_of_one_guest_at_once()
    {
        QemuGuest.SkipIfMissing();
        NetworkNamespace.SkipWithoutPrivilege();
        using ScratchDirectory scratch = new();
        using NetworkNamespace network = new();
        network.AddTap("tap0", "10.77.0.1/24", "multi_queue");
        using NetPeers peers = new(network, downBytes: (int)(16 * MiB));
        string image = scratch.CreateImage("disk.img", 16 * MiB), before = ScratchDirectory.Sha256(image), uds = scratch.PathOf("v");
        string disk = scratch.PathOf("disk.sock"), net = scratch.PathOf("net.sock"), entropy = scratch.PathOf("rng.sock"), vsock = scratch.PathOf("vsock.sock");
        using VmmProcess vmm = new(network.Wrapper,
        [
            "serve", "--blk", $"path={image},socket={disk},queues=2", "--net", $"socket={net},tap=tap0,queues=2", "--rng", $"socket={entropy}",
            "--vsock", $"socket={vsock},cid=42,uds={uds}", "--reactors", "2",
        ]);
        foreach (string line in (string[])[$"blk {disk}", $"net {net}", $"rng {entropy}", $"vsock {vsock}"]) vmm.WaitFor($"listening {line}");
        using VsockHost host = new(uds);
        host.Exchange(5000, 16 * MiB);
        host.Echo(5001);

        using QemuGuest guest = new("all", processors: 2,
            [.. QemuGuest.Disk(disk, queues: 2), .. QemuGuest.Net(net, queues: 2, mtu: 1500), .. QemuGuest.Entropy(entropy), .. QemuGuest.Vsock(vsock)]);
        string[] console = guest.WaitForPowerOff();
        Assert.True(console.Contains("vmm-test all passed"), string.Join('\n', console));
        Assert.Contains($"vmm-disk vda sha256 {before}", console);
        Assert.Contains($"vmm-disk vda sha256-after {ScratchDirectory.Sha256(image)}", console);
        Assert.Contains($"vmm-net down {peers.Down}", console);
        Assert.Contains($"vmm-net up {peers.Up.Result}", console);
        Assert.Contains("vmm-log clean", console);
        host.AssertNothingFailed();

        vmm.Signal("TERM");
        VmmResult result = vmm.WaitForExit();
        Assert.Equal(0, result.ExitCode);
        Assert.DoesNotContain("fault", result.Error, StringComparison.Ordinal);
        Assert.All((string[])[disk, net, entropy, vsock, uds], path => Assert.False(File.Exists(path)));
    }
}
