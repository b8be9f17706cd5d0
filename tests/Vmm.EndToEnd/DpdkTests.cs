using System.Diagnostics;
using System.Globalization;

namespace Vmm.EndToEnd;

/// <summary>DPDK's virtio-user as the front-end of our network: a driver in user space that polls, on split and packed rings.</summary>
[Tried("DPDK's virtio-user (`dpdk-testpmd`)", "dpdk-dev", "22.11", Devices = "network", Result = "works, split and packed",
    HowTo = "`dpdk-testpmd --no-huge --no-pci --vdev=net_virtio_user0,path=SOCKET,packed_vq=1 …` and `--allow-unsealed`")]
public sealed class DpdkTests
{
    private const string Testpmd = "/usr/bin/dpdk-testpmd";

    /// <summary>Frames to see: the rings of 256 have gone round many times.</summary>
    private const long Frames = 4096;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Frames_of_virtio_user_reach_the_tap(bool packed)
    {
        Assert.SkipUnless(File.Exists(Testpmd), $"{Testpmd} is not there: tools/test.sh installs it");
        NetworkNamespace.SkipWithoutPrivilege();
        using ScratchDirectory scratch = new();
        using NetworkNamespace network = new();
        network.AddTap("tap0", "10.77.0.1/24");
        string socket = scratch.PathOf("s");
        // Memory without huge pages is a memfd that is not sealed.
        using VmmProcess vmm = new(network.Wrapper, ["serve", "--net", $"socket={socket},tap=tap0", "--allow-unsealed"]);
        vmm.WaitFor($"listening net {socket}");
        string[] arguments =
        [
            "--no-huge", "-m", "256", "--no-pci", "--no-shconf", "--file-prefix", $"vmm{Environment.ProcessId}", "-l", "0,1",
            $"--vdev=net_virtio_user0,path={socket},queues=1,packed_vq={(packed ? 1 : 0)}",
            "--", "-i", "--forward-mode=txonly", "--auto-start", "--no-mlockall", "--total-num-mbufs=4096",
        ];
        using Process testpmd = Process.Start(new ProcessStartInfo(Testpmd, arguments)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        })!;
        Task<string> output = testpmd.StandardOutput.ReadToEndAsync(), error = testpmd.StandardError.ReadToEndAsync();
        long Received() => long.Parse(network.Execute("cat", "/sys/class/net/tap0/statistics/rx_packets"), CultureInfo.InvariantCulture);
        Stopwatch patience = Stopwatch.StartNew();
        while (Received() < Frames && !testpmd.HasExited && patience.Elapsed < TimeSpan.FromMinutes(2)) Thread.Sleep(100);
        long received = Received();
        if (!testpmd.HasExited) testpmd.StandardInput.Write("stop\nquit\n");
        testpmd.StandardInput.Close();
        if (!testpmd.WaitForExit(TimeSpan.FromMinutes(2))) testpmd.Kill(entireProcessTree: true);
        Assert.True(received >= Frames, $"{received} frames reached the tap.\n{output.Result}\n{error.Result}");
        vmm.Signal("TERM");
        VmmResult result = vmm.WaitForExit();
        Assert.True(result.ExitCode == 0, result.Error);
        Assert.DoesNotContain("refused", result.Error, StringComparison.Ordinal);
    }
}
