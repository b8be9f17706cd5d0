namespace Vmm.EndToEnd;

/// <summary>A socket of each device that QEMU 7.2 knows over vhost-user: disk, entropy, network, vsock, in the order in which they are served.</summary>
internal sealed class AllSockets(ScratchDirectory scratch)
{
    private readonly string _disk = scratch.PathOf("disk.sock"), _entropy = scratch.PathOf("rng.sock");
    private readonly string _network = scratch.PathOf("net.sock"), _vsock = scratch.PathOf("vsock.sock");

    /// <summary>Where the vsock device meets the host.</summary>
    internal string Uds { get; } = scratch.PathOf("v");

    /// <summary>What <c>vmm serve</c> is asked for.</summary>
    internal string[] Options(string image) =>
    [
        "--blk", $"path={image},socket={_disk}", "--rng", $"socket={_entropy}", "--net", $"socket={_network},tap=tap0",
        "--vsock", $"socket={_vsock},cid=42,uds={Uds}",
    ];

    /// <summary>What QEMU is asked for.</summary>
    internal string[] Devices() =>
        [.. QemuGuest.Disk(_disk, queues: 1), .. QemuGuest.Entropy(_entropy), .. QemuGuest.Net(_network, queues: 1, mtu: 1500), .. QemuGuest.Vsock(_vsock)];

    internal void WaitUntilListening(VmmProcess vmm)
    {
        vmm.WaitFor($"listening blk {_disk}");
        vmm.WaitFor($"listening rng {_entropy}");
        vmm.WaitFor($"listening net {_network}");
        vmm.WaitFor($"listening vsock {_vsock}");
    }

    /// <summary>Stops the process, which leaves nothing behind and has nothing to complain of.</summary>
    internal void AssertRemovedBy(VmmProcess vmm)
    {
        vmm.Signal("TERM");
        VmmResult result = vmm.WaitForExit();
        Assert.True(result.ExitCode == 0, result.Error);
        Assert.DoesNotContain("fault", result.Error, StringComparison.Ordinal);
        Assert.All([_disk, _entropy, _network, _vsock, Uds], socket => Assert.False(File.Exists(socket)));
    }
}
