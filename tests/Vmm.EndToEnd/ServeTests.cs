using System.Net.Sockets;
using System.Text;
using Vmm.Devices;
using Vmm.Devices.VhostUser;

namespace Vmm.EndToEnd;

/// <summary><c>vmm serve</c> and a stock Linux guest in QEMU, everything verified from both sides.</summary>
[Tried("QEMU, with a Debian kernel", "qemu-system-x86", "7.2",
    Devices = "disk", Result = "works, split and packed, several queues, reconnect", HowTo = "README, \"Serve a disk to QEMU\"")]
public sealed class ServeTests
{
    private const long MiB = 1 << 20;

    [Theory]
    [InlineData(1, 1, 128, false)]
    [InlineData(1, 1, 32, false)]
    [InlineData(4, 2, 1024, false)]
    [InlineData(2, 1, 128, true)]
    public void A_linux_guest_uses_a_disk_and_both_sides_agree(int queues, int reactors, int queueSize, bool packed)
    {
        QemuGuest.SkipIfMissing();
        using ScratchDirectory scratch = new();
        string image = scratch.CreateImage("disk.img", 32 * MiB);
        string socket = scratch.PathOf("disk.sock");
        string before = ScratchDirectory.Sha256(image);
        using VmmProcess vmm = new("serve", "--blk", $"path={image},socket={socket},queues={queues}", "--reactors", $"{reactors}");
        vmm.WaitFor($"listening blk {socket}");

        using QemuGuest guest = new("blk", processors: queues, QemuGuest.Disk(socket, queues, queueSize, packed));
        string[] console = guest.WaitForPowerOff();
        Assert.Contains($"vmm-disk vda sectors {32 * MiB / 512} queues {queues} read-only 0", console);
        Assert.Contains($"vmm-disk vda sha256 {before}", console);
        Assert.Contains("vmm-test blk passed", console);
        Assert.Contains("vmm-log clean", console);
        Assert.Contains($"vmm-disk vda sha256-after {ScratchDirectory.Sha256(image)}", console);

        Stop(vmm, socket);
    }

    /// <summary>The line that most people write: neither end is given a number of queues.</summary>
    [Fact]
    public void QEMU_with_two_processors_gets_the_two_queues_that_it_asks_for_by_itself()
    {
        QemuGuest.SkipIfMissing();
        using ScratchDirectory scratch = new();
        string image = scratch.CreateImage("disk.img", 16 * MiB), socket = scratch.PathOf("disk.sock");
        using VmmProcess vmm = new("serve", "--blk", $"path={image},socket={socket}");
        vmm.WaitFor($"listening blk {socket}");
        using QemuGuest guest = new("blk", processors: 2, QemuGuest.DiskAsAsked(socket));
        string[] console = guest.WaitForPowerOff();
        Assert.Contains($"vmm-disk vda sectors {16 * MiB / 512} queues 2 read-only 0", console);
        Assert.Contains("vmm-test blk passed", console);
        Assert.Contains("vmm-log clean", console);
        Assert.Contains($"vmm-disk vda sha256-after {ScratchDirectory.Sha256(image)}", console);
        Stop(vmm, socket);
    }

    [Fact]
    public void A_read_only_disk_stays_as_it_is()
    {
        QemuGuest.SkipIfMissing();
        using ScratchDirectory scratch = new();
        string image = scratch.CreateImage("disk.img", 8 * MiB);
        string socket = scratch.PathOf("disk.sock");
        string before = ScratchDirectory.Sha256(image);
        using VmmProcess vmm = new("serve", "--blk", $"path={image},socket={socket},ro");
        vmm.WaitFor($"listening blk {socket}");

        using QemuGuest guest = new("blk", processors: 1, QemuGuest.Disk(socket, queues: 1));
        string[] console = guest.WaitForPowerOff();
        Assert.Contains($"vmm-disk vda sectors {8 * MiB / 512} queues 1 read-only 1", console);
        Assert.Contains("vmm-test blk passed", console);
        Assert.Equal(before, ScratchDirectory.Sha256(image));

        Stop(vmm, socket);
    }

    [Fact]
    public void An_idle_guest_with_everything_attached_wakes_nobody()
    {
        QemuGuest.SkipIfMissing();
        NetworkNamespace.SkipWithoutPrivilege();
        using ScratchDirectory scratch = new();
        using NetworkNamespace network = new();
        network.AddTap("tap0", "10.77.0.1/24", []);
        AllSockets sockets = new(scratch);
        // Each on a reactor of its own: the guest's kernel asks for entropy now and then, idle or not.
        using VmmProcess vmm = new(network.Wrapper, ["serve", .. sockets.Options(scratch.CreateImage("disk.img", MiB)), "--reactors", "4"]);
        sockets.WaitUntilListening(vmm);
        using QemuGuest guest = new("idle", processors: 2, sockets.Devices());
        guest.WaitFor("vmm-idle");
        long[] Sleeps() => [.. new int[] { 0, 2, 3 }.Select(reactor => VmmProcess.Sleeps(vmm.Id, $"reactor{reactor}"))];
        long[] before = Sleeps();
        Thread.Sleep(TimeSpan.FromSeconds(10));
        Assert.Equal(before, Sleeps());
        Assert.Contains("vmm-test idle passed", guest.WaitForPowerOff());
        sockets.AssertRemovedBy(vmm);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_killed_server_that_comes_back_is_a_pause_for_the_guest(bool packed)
    {
        QemuGuest.SkipIfMissing();
        int kills = int.TryParse(Environment.GetEnvironmentVariable("VMM_KILLS"), out int wanted) ? wanted : 4;
        int seed = Environment.TickCount;
        Random random = new(seed);
        using ScratchDirectory scratch = new();
        string image = scratch.CreateImage("disk.img", 16 * MiB);
        string socket = scratch.PathOf("disk.sock");
        using RestartedVmm vmm = new([], $"listening blk {socket}", "serve", "--blk", $"path={image},socket={socket},queues=2");
        using QemuGuest guest = new("crash", processors: 2, QemuGuest.Disk(socket, queues: 2, packed: packed));
        guest.WaitFor("vmm-writing");

        while (vmm.Kills < kills && vmm.WaitUntilInUse(guest))
        {
            Thread.Sleep(random.Next(2000));
            vmm.KillAndStartAgain();
        }
        guest.Say("enough");
        string[] console = guest.WaitForPowerOff();
        Assert.True(console.Contains("vmm-test crash passed"), $"seed {seed}, after {vmm.Kills} kills:\n{string.Join('\n', console)}");
        Assert.Contains("vmm-log clean", console);
        Assert.Equal(kills, vmm.Kills);
        Stop(vmm.Current, socket);
    }

    [Fact]
    public void A_service_manager_is_told_when_front_ends_can_come_and_when_it_ends()
    {
        using ScratchDirectory scratch = new();
        string socket = scratch.PathOf("s"), notifications = scratch.PathOf("notify");
        using Socket manager = new(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified) { ReceiveTimeout = 60_000 };
        manager.Bind(new UnixDomainSocketEndPoint(notifications));
        byte[] message = new byte[256];
        string Next() => Encoding.UTF8.GetString(message, 0, manager.Receive(message));

        using VmmProcess vmm = new(["env", $"NOTIFY_SOCKET={notifications}"],
            ["serve", "--require-sealed", "--blk", $"path={scratch.CreateImage("a.img", 16 * MiB)},socket={socket}"]);
        Assert.Equal($"READY=1\nMAINPID={vmm.Id}", Next());
        // Its own front-end seals what it shares.
        VmmResult load = VmmProcess.Run("bench", "vhost-user-blk", "--socket", socket, "--seconds", "1", "--verify", "--rw", "randrw");
        Assert.True(load.ExitCode == 0, load.Error + load.Output);
        Stop(vmm, socket);
        Assert.Equal("STOPPING=1", Next());
    }

    [Fact]
    public void Of_the_memory_that_may_be_mapped_one_front_end_gets_half()
    {
        using ScratchDirectory scratch = new();
        string socket = scratch.PathOf("s");
        using VmmProcess vmm = new("serve", "--map-max", "1", "--blk", $"path=null:1M,socket={socket}");
        vmm.WaitFor($"listening blk {socket}");
        foreach ((long bytes, bool isRefused) in ((long, bool)[])[(512 * MiB, false), ((512 * MiB) + 4096, true)])
        {
            using VhostUserFrontend frontend = VhostUserFrontend.Connect(socket);
            frontend.Negotiate(VirtioFeatures.EventIndex);
            using GuestMemory memory = GuestMemory.Create((ulong)bytes);
            if (isRefused) Assert.Throws<VhostUserException>(() => frontend.ShareMemory(memory));
            else frontend.ShareMemory(memory);
        }
        vmm.WaitFor($"of the {1L << 30} of this process the others leave {512 * MiB} for one front-end");
        Stop(vmm, socket);
    }

    [Fact]
    public void A_server_that_waits_for_an_image_ends_at_once_when_it_is_asked_to()
    {
        using ScratchDirectory scratch = new();
        string image = scratch.CreateImage("image", 1 << 20), socket = scratch.PathOf("r");
        using UnseenLock held = new(image);
        using VmmProcess vmm = new("serve", "--sandbox=off", "--blk", $"path=memory:1M,socket={socket}", "--blk", $"path={image},socket={scratch.PathOf("b")}");
        Assert.True(SpinWait.SpinUntil(() => File.Exists(socket) || vmm.HasEnded, TimeSpan.FromSeconds(60)));
        vmm.Signal("TERM");
        Assert.Equal(VmmResult.EndedByTerm, vmm.WaitForExit().ExitCode);
    }

    [Fact]
    public void Signals_that_are_not_meant_to_end_it_do_not_and_one_of_them_prints_statistics()
    {
        using ScratchDirectory scratch = new();
        string socket = scratch.PathOf("s");
        using VmmProcess vmm = new("serve", "--blk", $"path={scratch.CreateImage("a.img", 16 * MiB)},socket={socket}");
        vmm.WaitFor("listening");
        foreach (string signal in (string[])["HUP", "USR2", "USR1"]) vmm.Signal(signal);
        vmm.WaitFor("blk0: front-ends 0, kicks 0, requests 0, ");
        VmmResult load = VmmProcess.Run("bench", "vhost-user-blk", "--socket", socket, "--seconds", "1");
        Assert.True(load.ExitCode == 0, load.Error + load.Output);
        vmm.Signal("USR1");
        vmm.Signal("TERM");
        VmmResult result = vmm.WaitForExit();
        Assert.Equal(0, result.ExitCode);
        Assert.Matches("vmm: blk0: front-ends 1, kicks [1-9]\\d*, requests [1-9]\\d*, ", result.Error);
        Assert.False(File.Exists(socket));
    }

    [Fact]
    public void A_socket_somebody_listens_on_is_refused_in_a_sentence()
    {
        using ScratchDirectory scratch = new();
        string image = scratch.CreateImage("a.img", MiB), other = scratch.CreateImage("b.img", MiB);
        string socket = scratch.PathOf("s");
        using VmmProcess first = new("serve", "--blk", $"path={image},socket={socket}");
        first.WaitFor("listening");
        VmmResult second = VmmProcess.Run("serve", "--blk", $"path={other},socket={socket}");
        Assert.Equal(1, second.ExitCode);
        Assert.Contains("another process listens there", second.Error);
        Stop(first, socket);
    }

    [Theory]
    [InlineData("")]
    [InlineData("path=/tmp/x")]
    [InlineData("path=/tmp/x,socket=/tmp/s,queues=0")]
    [InlineData("path=/tmp/x,socket=/tmp/s,colour=red")]
    public void A_disk_that_makes_no_sense_is_a_usage_error(string disk)
    {
        VmmResult result = VmmProcess.Run("serve", "--blk", disk);
        Assert.Equal(2, result.ExitCode);
        Assert.StartsWith("vmm: ", result.Error);
    }

    private static void Stop(VmmProcess vmm, string socket)
    {
        vmm.Signal("TERM");
        VmmResult result = vmm.WaitForExit();
        Assert.Equal(0, result.ExitCode);
        Assert.False(File.Exists(socket));
        Assert.DoesNotContain("   at ", result.Error);
    }
}
