using System.Diagnostics;
using Vmm.Tests;

namespace Vmm.EndToEnd;

/// <summary>A real Linux on disks that live elsewhere: everything is verified from both sides.</summary>
public sealed class StorageTests
{
    private const int MiB = 1 << 20;
    private const int Sectors = 16 * MiB / 512;

    [Fact]
    public void A_disk_in_memory_is_one_like_any_other()
    {
        UmlGuest.SkipIfMissing();
        using ScratchDirectory scratch = new();
        string socket = scratch.PathOf("s");
        using VmmProcess vmm = UmlGuest.Serve([], "--blk", $"path=memory:16M,socket={socket}");
        using UmlGuest guest = new("blk", UmlGuest.DiskAt(socket));
        AssertPassed(guest.WaitForPowerOff());
        Stop(vmm);
    }

    [Theory]
    [InlineData("memory:1M")]
    [InlineData("nbd+unix:///?socket=NBD")]
    [InlineData("rbd:rbd/disk?conf=CEPH/ceph.conf")]
    public void A_simulated_guest_has_disks_of_every_kind(string name)
    {
        using ScratchDirectory scratch = new();
        string nbd = scratch.PathOf("n"), cluster = scratch.PathOf("ceph"), script = Repository.PathOf("tools/ceph.sh");
        bool isImage = name.Contains("CEPH", StringComparison.Ordinal);
        Assert.SkipUnless(!isImage || File.Exists("/usr/bin/ceph-osd"), "there is no ceph-osd: tools/test.sh installs it");
        using Killed? server = name.Contains("NBD", StringComparison.Ordinal)
            ? new Killed("nbdkit", "--foreground", $"--unix={nbd}", "memory", "1M") : null;
        try
        {
            server?.WaitFor(nbd);
            if (isImage)
            {
                Shell.Run("env", $"VMM_CEPH_PORT={Random.Shared.Next(20_000, 30_000)}", script, "start", cluster);
                Shell.Run("rbd", "-c", $"{cluster}/ceph.conf", "create", "--size", "1M", "disk");
            }
            string disk = name.Replace("NBD", nbd, StringComparison.Ordinal).Replace("CEPH", cluster, StringComparison.Ordinal);
            VmmResult result = VmmProcess.Run("run", "--disk", disk, "--exec",
                "fill vda 42; verify vda 42; write vda 5000 deadbeef; flush vda; read vda 5000 4; poweroff");
            Assert.True(result.ExitCode == 0, result.Error + result.Output);
            Assert.Contains("deadbeef", string.Concat(result.Output.Where(letter => !char.IsWhiteSpace(letter))), StringComparison.Ordinal);
        }
        finally
        {
            if (isImage) Shell.Try(script, "stop", cluster);
        }
    }

    [Fact]
    public void A_machine_without_librbd_says_which_package_has_it()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "a mount namespace of its own needs root");
        using ScratchDirectory scratch = new();
        // The library is there, and is none, in a mount namespace of the command's own.
        const string Hide = "for library in $(ldconfig -p | sed -n 's/.*librbd.so.1.* => //p'); do mount --bind /dev/null $library; done; exec \"$@\"";
        using VmmProcess vmm = new(["unshare", "--mount", "sh", "-c", Hide, "sh"],
            ["serve", "--blk", $"path=rbd:rbd/x,socket={scratch.PathOf("s")}"]);
        vmm.Input.Close();
        VmmResult result = vmm.WaitForExit();
        Assert.NotEqual(0, result.ExitCode);
        Assert.Contains("disk 'rbd:rbd/x': librbd.so.1 is not on this machine: install it, with apt install librbd1", result.Error,
            StringComparison.Ordinal);
    }

    [Fact]
    public void A_guest_works_on_while_its_NBD_server_is_killed_again_and_again()
    {
        UmlGuest.SkipIfMissing();
        using ScratchDirectory scratch = new();
        string image = scratch.CreateImage("disk.img", 16 * MiB), nbd = scratch.PathOf("n"), socket = scratch.PathOf("s");
        string before = ScratchDirectory.Sha256(image);
        using Killed server = new("qemu-nbd", "--persistent", "--discard=unmap", "--format=raw", "--shared=8", $"--socket={nbd}", image);
        server.WaitFor(nbd);
        using VmmProcess vmm = UmlGuest.Serve([], "--blk", $"path=nbd+unix:///?socket={nbd},reconnect=forever,socket={socket}");
        using UmlGuest guest = new("blk", UmlGuest.DiskAt(socket));
        using CancellationTokenSource over = new();
        Task kills = Task.Run(async () =>
        {
            while (!over.IsCancellationRequested)
            {
                await Task.Delay(300, CancellationToken.None);
                server.KillAndStart();
            }
        });
        string[] console = guest.WaitForPowerOff();
        over.Cancel();
        kills.Wait();
        AssertPassed(console);
        Assert.Contains($"vmm-disk vda sectors {Sectors} queues 1 read-only 0", console);
        Assert.Contains($"vmm-disk vda sha256 {before}", console);
        Assert.Contains($"vmm-disk vda sha256-after {ScratchDirectory.Sha256(image)}", console);
        Assert.True(server.Kills > 0, "the guest was done before the first kill");
        Stop(vmm);
    }

    [Fact]
    public void A_disk_of_a_server_that_asks_for_TLS_is_served()
    {
        using ScratchDirectory scratch = new();
        string nbd = scratch.PathOf("n"), socket = scratch.PathOf("s"), authority = scratch.PathOf("authority");
        new TlsAuthority(authority).AddClient();
        _ = new TlsAuthority(scratch.PathOf("other"));
        using Killed server = new("nbdkit", "--foreground", "--tls=require", "--tls-verify-peer", $"--tls-certificates={authority}",
            $"--unix={nbd}", "memory", "16M");
        server.WaitFor(nbd);
        string disk = $"nbds+unix:///?socket={nbd}&tls-hostname=localhost&tls-certificates=";
        using (VmmProcess vmm = new("serve", "--blk", $"path={disk}{authority},socket={socket}"))
        {
            vmm.WaitFor("listening");
            VmmResult load = VmmProcess.Run("bench", "vhost-user-blk", "--socket", socket, "--seconds", "1");
            Assert.True(load.ExitCode == 0, load.Error);
            Stop(vmm);
        }
        VmmResult refused = VmmProcess.Run("serve", "--blk", $"path={disk}{scratch.PathOf("other")},socket={socket}");
        Assert.Contains("TLS was refused", refused.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void A_guest_works_on_an_image_of_a_Ceph_cluster_whose_OSD_stands_still_for_a_while()
    {
        UmlGuest.SkipIfMissing();
        Assert.SkipUnless(File.Exists("/usr/bin/ceph-osd"), "there is no ceph-osd: tools/test.sh installs it");
        using ScratchDirectory scratch = new();
        string image = scratch.CreateImage("disk.img", 16 * MiB), socket = scratch.PathOf("s"), cluster = scratch.PathOf("ceph");
        string before = ScratchDirectory.Sha256(image);
        string script = Repository.PathOf("tools/ceph.sh");
        try
        {
            Shell.Run("env", $"VMM_CEPH_PORT={Random.Shared.Next(20_000, 30_000)}", script, "start", cluster);
            string[] rbd = ["rbd", "-c", $"{cluster}/ceph.conf"];
            Shell.Run([.. rbd, "import", "--no-progress", image, "disk"]);
            using VmmProcess vmm = UmlGuest.Serve([], "--blk", $"path=rbd:rbd/disk?conf={cluster}/ceph.conf,socket={socket}");
            using UmlGuest guest = new("blk", UmlGuest.DiskAt(socket));
            string osd = File.ReadAllText($"{cluster}/run/osd.0.pid").Trim();
            for (int i = 0; i < 3; i++)
            {
                Thread.Sleep(300);
                Shell.Run("kill", "-STOP", osd);
                Thread.Sleep(500);
                Shell.Run("kill", "-CONT", osd);
            }
            string[] console = guest.WaitForPowerOff();
            AssertPassed(console);
            Assert.Contains($"vmm-disk vda sha256 {before}", console);
            Stop(vmm);
            string after = scratch.PathOf("after.img");
            Shell.Run([.. rbd, "export", "--no-progress", "disk", after]);
            Assert.Contains($"vmm-disk vda sha256-after {ScratchDirectory.Sha256(after)}", console);
        }
        finally
        {
            Shell.Try(script, "stop", cluster);
        }
    }

    [Theory]
    [InlineData("nbd+unix:///?socket=/no/such/socket", "start the server, or correct the address")]
    [InlineData("rbd:rbd/x?conf=/no/such.conf", "the configuration '/no/such.conf' cannot be read")]
    [InlineData("nbds://a/?tls-type=psk", "TLS with pre-shared keys is not in .NET")]
    [InlineData("null:1000", "the size is no multiple of the 512-byte sector")]
    [InlineData("ftp://a/b", "there are file:PATH, nbd://")]
    public void What_cannot_be_a_disk_is_refused_in_a_sentence(string name, string sentence)
    {
        using ScratchDirectory scratch = new();
        VmmResult result = VmmProcess.Run("serve", "--blk", $"path={name},socket={scratch.PathOf("s")}");
        Assert.NotEqual(0, result.ExitCode);
        Assert.Contains(sentence, result.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", result.Error, StringComparison.Ordinal);
    }

    private static void AssertPassed(string[] console)
    {
        Assert.True(console.Contains("vmm-test blk passed"), string.Join('\n', console));
        Assert.Contains("vmm-log clean", console);
    }

    private static void Stop(VmmProcess vmm)
    {
        vmm.Signal("TERM");
        VmmResult result = vmm.WaitForExit();
        Assert.True(result.ExitCode == 0, result.Error);
    }

    /// <summary>A server that is killed and started again.</summary>
    private sealed class Killed(string program, params string[] arguments) : IDisposable
    {
        private Process _process = Process.Start(program, arguments);

        internal int Kills { get; private set; }

        internal void WaitFor(string socket)
        {
            for (Stopwatch clock = Stopwatch.StartNew(); !File.Exists(socket); Thread.Sleep(10))
                Assert.True(clock.Elapsed < TimeSpan.FromSeconds(20), $"{program} does not serve");
        }

        internal void KillAndStart()
        {
            Dispose();
            Kills++;
            _process = Process.Start(program, arguments);
        }

        public void Dispose()
        {
            _process.Kill();
            _process.WaitForExit();
            _process.Dispose();
        }
    }
}
