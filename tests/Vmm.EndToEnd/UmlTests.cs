using System.Net.Sockets;
using System.Text;

namespace Vmm.EndToEnd;

/// <summary>
/// <c>vmm serve</c> and User Mode Linux: a front-end that is Linux's own, and Linux's own drivers on packed rings, in seconds. Everything
/// is verified from both sides.
/// </summary>
[Tried("Linux, User Mode Linux's `virtio_uml`", "user-mode-linux", "6.1", Devices = "disk, network, vsock, console, balloon",
    Result = "works, packed rings", HowTo = "`linux.uml … virtio_uml.device=SOCKET:ID` and `vmm serve … --allow-unsealed`: see `tests/README.md`")]
public sealed class UmlTests
{
    private const int MiB = 1 << 20;

    [Theory]
    [InlineData("ring")]
    [InlineData("threads")]
    [InlineData("synchronous")]
    public void A_disk_is_written_and_read_and_both_sides_agree(string engine)
    {
        UmlGuest.SkipIfMissing();
        using ScratchDirectory scratch = new();
        string image = scratch.CreateImage("disk.img", 16 * MiB), socket = scratch.PathOf("s"), before = ScratchDirectory.Sha256(image);
        using VmmProcess vmm = UmlGuest.Serve([], "--blk", $"path={image},socket={socket},engine={engine}");
        using UmlGuest guest = new("blk", UmlGuest.DiskAt(socket));
        string[] console = guest.WaitForPowerOff();
        AssertPassed(console, "blk");
        Assert.Contains($"vmm-disk vda sectors {16 * MiB / 512} queues 1 read-only 0", console);
        Assert.Contains($"vmm-disk vda sha256 {before}", console);
        Assert.Contains($"vmm-disk vda sha256-after {ScratchDirectory.Sha256(image)}", console);
        Stop(vmm);
    }

    [Fact]
    public void A_read_only_disk_stays_as_it_is()
    {
        UmlGuest.SkipIfMissing();
        using ScratchDirectory scratch = new();
        string image = scratch.CreateImage("disk.img", 4 * MiB), socket = scratch.PathOf("s"), before = ScratchDirectory.Sha256(image);
        using VmmProcess vmm = UmlGuest.Serve([], "--blk", $"path={image},socket={socket},ro");
        using UmlGuest guest = new("blk", UmlGuest.DiskAt(socket));
        string[] console = guest.WaitForPowerOff();
        AssertPassed(console, "blk");
        Assert.Contains($"vmm-disk vda sectors {4 * MiB / 512} queues 1 read-only 1", console);
        Assert.Equal(before, ScratchDirectory.Sha256(image));
        Stop(vmm);
    }

    [Fact]
    public void The_network_reaches_the_host_and_both_sides_agree()
    {
        UmlGuest.SkipIfMissing();
        NetworkNamespace.SkipWithoutPrivilege();
        using ScratchDirectory scratch = new();
        using NetworkNamespace network = new();
        network.AddTap("tap0", "10.77.0.1/24");
        using NetPeers host = new(network, downBytes: 16 * MiB);
        string socket = scratch.PathOf("s");
        using VmmProcess vmm = UmlGuest.Serve(network.Wrapper, "--net", $"socket={socket},tap=tap0");
        using UmlGuest guest = new("net", UmlGuest.NetAt(socket));
        string[] console = guest.WaitForPowerOff();
        AssertPassed(console, "net");
        Assert.Contains("vmm-net mtu 1500 queues 1 carrier 1", console);
        Assert.Contains($"vmm-net down {host.Down}", console);
        Assert.Contains($"vmm-net up {host.Up.Result}", console);
        Assert.Equal(4, console.Count(line => line == "vmm-net connections 50"));
        Stop(vmm);
    }

    [Fact]
    public void Guest_and_host_connect_to_each_other_by_vsock()
    {
        UmlGuest.SkipIfMissing();
        using ScratchDirectory scratch = new();
        string socket = scratch.PathOf("s"), uds = scratch.PathOf("v");
        using VmmProcess vmm = UmlGuest.Serve([], "--vsock", $"socket={socket},cid=42,uds={uds}");
        using VsockHost host = new(uds);
        host.Exchange(5000, 16 * MiB);
        host.Echo(5001);
        host.Halves(5002);
        host.Stall(5003);
        host.Echo(5005, SocketType.Seqpacket);
        using UmlGuest guest = new("vsock", UmlGuest.VsockAt(socket));
        guest.WaitForLine("vmm-vsock stalled ");
        host.Read();
        guest.WaitFor("vmm-vsock serving 6000");
        host.ExchangeWithEcho(6000, 16 * MiB);
        host.EchoMany(6000, count: 200, atOnce: 50);
        using (Socket last = host.Connect(6000)) last.Send("quit"u8);
        string[] console = guest.WaitForPowerOff();
        AssertPassed(console, "vsock");
        Assert.Contains("vmm-vsock cid 42", console);
        host.AssertNothingFailed();
        Stop(vmm);
        Assert.False(File.Exists(uds));
    }

    [Fact]
    public void The_console_carries_a_talk_with_the_host()
    {
        UmlGuest.SkipIfMissing();
        using ScratchDirectory scratch = new();
        string socket = scratch.PathOf("s"), people = scratch.PathOf("people");
        using VmmProcess vmm = UmlGuest.Serve([], "--console", $"socket={socket},uds={people}");
        using Socket person = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { ReceiveTimeout = 60_000 };
        person.Connect(new UnixDomainSocketEndPoint(people));
        using UmlGuest guest = new("console", UmlGuest.ConsoleAt(socket));
        using StreamReader screen = new(new NetworkStream(person), Encoding.ASCII);
        Assert.Equal("the guest speaks", screen.ReadLine());
        person.Send("the host speaks\n"u8);
        Assert.Equal("the guest hears", screen.ReadLine());
        string[] console = guest.WaitForPowerOff();
        AssertPassed(console, "console");
        Assert.Contains("vmm-console heard the host speaks", console);
        Stop(vmm);
    }

    [Fact]
    public void The_balloon_gives_memory_back_to_the_host()
    {
        UmlGuest.SkipIfMissing();
        using ScratchDirectory scratch = new();
        string socket = scratch.PathOf("s");
        using VmmProcess vmm = UmlGuest.Serve([], "--balloon", $"socket={socket},target=64");
        using UmlGuest guest = new("balloon", UmlGuest.BalloonAt(socket), "vmm.balloon=64");
        string[] console = guest.WaitForPowerOff();
        AssertPassed(console, "balloon");
        Assert.Contains($"vmm-balloon pages {64 * 256}", console);
        Stop(vmm);
    }

    private static void AssertPassed(string[] console, string test)
    {
        Assert.True(console.Contains($"vmm-test {test} passed"), string.Join('\n', console));
        Assert.Contains("vmm-log clean", console);
    }

    private static void Stop(VmmProcess vmm)
    {
        vmm.Signal("TERM");
        VmmResult result = vmm.WaitForExit();
        Assert.True(result.ExitCode == 0, result.Error);
        Assert.DoesNotContain("fault", result.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("refused", result.Error, StringComparison.Ordinal);
    }
}
