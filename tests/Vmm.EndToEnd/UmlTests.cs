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
    public void What_the_guest_sent_before_it_closed_is_read_after_its_kernel_gave_the_connection_up()
    {
        UmlGuest.SkipIfMissing();
        using ScratchDirectory scratch = new();
        string socket = scratch.PathOf("s"), uds = scratch.PathOf("v");
        using VmmProcess vmm = UmlGuest.Serve([], "--vsock", $"socket={socket},cid=42,uds={uds}");
        using VsockHost host = new(uds);
        host.ReadLater(5003, 300_000);
        host.Echo(5001);
        using UmlGuest guest = new("vsock-late", UmlGuest.VsockAt(socket));
        guest.WaitFor("vmm-vsock left");
        host.Read();
        host.AssertAllRead();
        AssertPassed(guest.WaitForPowerOff(), "vsock-late");
        host.AssertNothingFailed();
        Stop(vmm);
    }

    /// <summary>Linux's hvc driver waits for the used buffer of each line with a lock held: nothing of the guest goes on where the host does not take it.</summary>
    [Fact]
    public void A_kernel_whose_console_no_one_reads_goes_on_and_who_reads_later_sees_how_much_is_missing()
    {
        const int Lines = 20_000;
        UmlGuest.SkipIfMissing();
        using ScratchDirectory scratch = new();
        string socket = scratch.PathOf("s"), people = scratch.PathOf("people");
        using VmmProcess vmm = UmlGuest.Serve([], "--console", $"socket={socket},uds={people}");
        using UmlGuest guest = new("hvc,commands", UmlGuest.ConsoleAt(socket), "console=hvc0", "console=tty0", "printk.devkmsg=on", "loglevel=8", $"vmm.lines={Lines}");
        guest.WaitFor("vmm-hvc printed");
        Assert.Contains("vmm-hvc 1", guest.Console);
        using Socket person = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { ReceiveTimeout = 60_000 };
        person.Connect(new UnixDomainSocketEndPoint(people));
        using StreamReader screen = new(new NetworkStream(person), Encoding.ASCII);
        string first = screen.ReadLine()!;
        if (first.Length == 0) first = screen.ReadLine()!;
        Assert.Contains("dropped", first, StringComparison.Ordinal);
        guest.Say("done");
        AssertPassed(guest.WaitForPowerOff(), "hvc");
        Stop(vmm);
    }

    [Fact]
    public void A_disk_of_4096_byte_sectors_takes_every_discard_that_Linux_makes()
    {
        UmlGuest.SkipIfMissing();
        using ScratchDirectory scratch = new();
        using LoopDevice loop = new(scratch.CreateImage("disk.img", 32 * MiB), sectorBytes: 4096);
        string socket = scratch.PathOf("s");
        using VmmProcess vmm = UmlGuest.Serve([], "--blk", $"path={loop.Path},socket={socket}");
        using UmlGuest guest = new("trim", UmlGuest.DiskAt(socket));
        string[] console = guest.WaitForPowerOff();
        AssertPassed(console, "trim");
        Assert.Contains("vmm-disk block 4096 granularity 4096", console);
        Stop(vmm);
    }

    /// <summary>The change comes by the channel that User Mode Linux gave the back-end.</summary>
    [Fact]
    public void A_disk_that_grows_is_larger_for_its_guest()
    {
        UmlGuest.SkipIfMissing();
        using ScratchDirectory scratch = new();
        string image = scratch.CreateImage("disk.img", 4 * MiB), socket = scratch.PathOf("s");
        using VmmProcess vmm = UmlGuest.Serve([], "--blk", $"path={image},socket={socket}");
        using UmlGuest guest = new("commands", UmlGuest.DiskAt(socket));
        guest.WaitFor("vmm-guest ready");
        guest.Say("cat /sys/block/vda/size");
        guest.WaitFor($"{4 * MiB / 512}");
        using (FileStream file = new(image, FileMode.Open, FileAccess.Write, FileShare.ReadWrite)) file.SetLength(6 * MiB);
        guest.Say($"until [ $(cat /sys/block/vda/size) = {6 * MiB / 512} ]; do sleep 1; done; dd if=/dev/vda of=/dev/null bs=4096 skip=1535 count=1; echo grown");
        guest.WaitFor("grown");
        guest.Say("done");
        AssertPassed(guest.WaitForPowerOff(), "commands");
        Stop(vmm);
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
        Assert.True(console.Contains($"vmm-test {test} passed") && console.Contains("vmm-log clean"), string.Join('\n', console));
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
