using System.Globalization;
using System.Text.Json;

namespace Vmm.EndToEnd;

/// <summary>A real Linux on an image of a cluster of three OSDs, through bad days: whatever it was told to be safe is there afterwards.</summary>
public sealed class ClusterTests
{
    private const int MiB = 1 << 20, Bytes = 96 * MiB, LargerBytes = 128 * MiB, SectorBytes = 512;
    private const string MakeFileSystem = "/sbin/mke2fs -q -F -t ext4 /dev/vda && mount -o discard /dev/vda /mnt";

    [Fact, Trait("Long", "true")]
    public void A_file_system_on_a_cluster_lives_through_an_OSD_a_resize_a_discard_and_the_death_of_its_server()
    {
        UmlGuest.SkipIfMissing();
        Assert.SkipUnless(File.Exists("/usr/bin/ceph-osd"), "there is no ceph-osd: tools/test.sh installs it");
        using ScratchDirectory scratch = new();
        using Cluster cluster = new(scratch.PathOf("ceph"));
        cluster.Rbd("create", "--size", $"{Bytes}B", "disk");
        string socket = scratch.PathOf("s");
        using VmmProcess vmm = cluster.Serve(socket);
        using (UmlGuest guest = new("commands", UmlGuest.DiskAt(socket)))
        {
            Typed shell = new(guest);
            shell.Run(MakeFileSystem);
            shell.Run("dd if=/dev/urandom of=/mnt/first bs=1M count=24 && sync && sha256sum /mnt/first >/mnt/sums");
            cluster.Signal("osd.1", "KILL");
            shell.Run("dd if=/dev/urandom of=/mnt/second bs=1M count=8 && sync && sha256sum /mnt/second >>/mnt/sums");
            cluster.Script("osd", "1");
            shell.Run("cp /mnt/second /mnt/third && sync && umount /mnt && echo 3 >/proc/sys/vm/drop_caches");
            shell.Run("mount -o discard /dev/vda /mnt && sha256sum -c /mnt/sums && cmp /mnt/second /mnt/third");

            // What lsblk(8) shows is this file.
            shell.Run($"[ $(cat /sys/block/vda/size) = {Bytes / SectorBytes} ]");
            cluster.Rbd("resize", "--no-progress", "--size", $"{LargerBytes}B", "disk");
            string larger = (LargerBytes / SectorBytes).ToString(CultureInfo.InvariantCulture);
            shell.Run($"for i in $(seq 600); do [ $(cat /sys/block/vda/size) = {larger} ] && break; sleep 0.1; done; "
                + $"[ $(cat /sys/block/vda/size) = {larger} ]");

            long before = cluster.Used("disk");
            shell.Run("rm /mnt/first && sed -i /first/d /mnt/sums && sync && umount /mnt && mount -o discard /dev/vda /mnt");
            long after = cluster.Used("disk");
            Assert.True(after <= before - (16 * MiB), $"{before} bytes before the discard, {after} after");

            // The server dies in the middle of writes; then the guest, which can go on with nothing.
            guest.Say("while true; do dd if=/dev/urandom of=/mnt/endless bs=64k count=64 conv=fsync; echo vmm-wrote; done");
            guest.WaitFor("vmm-wrote");
            vmm.Signal("KILL");
            vmm.WaitForExit();
            guest.Kill();
        }

        cluster.Check(scratch.PathOf("killed.img"));
        File.Delete(socket);
        using VmmProcess next = cluster.Serve(socket);
        using (UmlGuest guest = new("commands", UmlGuest.DiskAt(socket)))
        {
            Typed shell = new(guest);
            shell.Run("mount /dev/vda /mnt && sha256sum -c /mnt/sums && cmp /mnt/second /mnt/third");
            // Now the guest dies alone, in the middle of writes.
            guest.Say("while true; do dd if=/dev/urandom of=/mnt/endless bs=64k count=64 conv=fsync; echo vmm-wrote; done");
            guest.WaitFor("vmm-wrote");
            guest.Kill();
        }
        using (UmlGuest guest = new("commands", UmlGuest.DiskAt(socket)))
        {
            Typed shell = new(guest);
            shell.Run("mount /dev/vda /mnt && sha256sum -c /mnt/sums && cmp /mnt/second /mnt/third && umount /mnt");
            guest.Say("done");
            string[] console = guest.WaitForPowerOff();
            // Its kernel may say that this file system was never unmounted, and nothing else.
            Assert.True(console.Contains("vmm-test commands passed") && !console.Any(line => line.Contains("error", StringComparison.Ordinal)),
                string.Join('\n', console));
        }
        next.Signal("TERM");
        Assert.Equal(0, next.WaitForExit().ExitCode);
        cluster.Check(scratch.PathOf("end.img"));
    }

    /// <summary>Types commands, which all have to succeed.</summary>
    private sealed class Typed(UmlGuest guest)
    {
        private int _number;

        internal void Run(string command)
        {
            guest.Say(command);
            string start = string.Create(CultureInfo.InvariantCulture, $"vmm-ran {++_number} ");
            guest.WaitForLine(start);
            string[] console = guest.Console;
            Assert.True(console.Contains($"{start}0"), $"'{command}' failed:\n{string.Join('\n', console)}");
        }
    }

    /// <summary>A cluster of three OSDs, with two copies of everything.</summary>
    private sealed class Cluster : IDisposable
    {
        /// <summary>Longest time of a command, in seconds: a cluster that does not answer has them wait for ever.</summary>
        private const string Patience = "120";

        private readonly string _folder;

        internal Cluster(string folder)
        {
            _folder = folder;
            string script = Repository.PathOf("tools/ceph.sh");
            Shell.Run("env", $"VMM_CEPH_PORT={Random.Shared.Next(20_000, 30_000)}", script, "start", folder, "3");
        }

        private string Configuration => Path.Combine(_folder, "ceph.conf");

        internal VmmProcess Serve(string socket) => UmlGuest.Serve([], "--blk", $"path=rbd:rbd/disk?conf={Configuration},socket={socket}");

        internal string Rbd(params string[] arguments) => Shell.Run(["timeout", Patience, "rbd", "-c", Configuration, .. arguments]);

        internal void Script(string action, params string[] more) => Shell.Run([Repository.PathOf("tools/ceph.sh"), action, _folder, .. more]);

        internal void Signal(string daemon, string signal) =>
            Shell.Run("kill", $"-{signal}", File.ReadAllText(Path.Combine(_folder, "run", $"{daemon}.pid")).Trim());

        /// <summary>Bytes that an image takes (<c>rbd du</c>).</summary>
        internal long Used(string image)
        {
            string printed = Rbd("du", "--exact", "--format", "json", image);
            // Warnings may stand before it.
            using JsonDocument usage = JsonDocument.Parse(printed[printed.IndexOf('{', StringComparison.Ordinal)..]);
            return usage.RootElement.GetProperty("images")[0].GetProperty("used_size").GetInt64();
        }

        /// <summary>Checks the file system of a copy: its journal may have something left to do, and nothing may be broken.</summary>
        internal void Check(string copy)
        {
            Rbd("export", "--no-progress", "disk", copy);
            (int journal, string output) = Shell.Try("e2fsck", "-p", copy);
            Assert.True(journal is 0 or 1, $"e2fsck -p ended with {journal}: {output}");
            Shell.Run("e2fsck", "-f", "-n", copy);
            File.Delete(copy);
        }

        public void Dispose() => Shell.Try(Repository.PathOf("tools/ceph.sh"), "stop", _folder);
    }
}
