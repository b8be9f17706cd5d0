using System.Text.RegularExpressions;

namespace Vmm.EndToEnd;

/// <summary>Disks that are saved with their machine, clones with disks of their own, and differences, by the tool as people use it.</summary>
public sealed class SnapshotDiskTests : IDisposable
{
    private readonly SnapshotFiles _files = new();

    public SnapshotDiskTests()
    {
        Assert.SkipUnless(File.Exists("/dev/kvm"), "needs /dev/kvm");
        TickingKernel.Write(_files.PathOf("kernel"));
    }

    public void Dispose() => _files.Dispose();

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Disks_are_saved_as_they_are_at_that_moment_and_a_clone_has_its_own(bool sharesBlocks)
    {
        string folder = sharesBlocks ? _files.MountXfs() : _files.Scratch.Path;
        string disk = Path.Combine(folder, "disk.img"), saved = Path.Combine(folder, "saved"), own = Path.Combine(folder, "own.img");
        File.Copy(_files.Scratch.CreateImage("image", 64 * SnapshotFiles.MiB), disk);
        if (!sharesBlocks) Assert.SkipWhen(SharesBlocks(disk), "the file system of temporary files shares blocks");
        string content = ScratchDirectory.Sha256(disk);
        using (VmmProcess vmm = _files.Start("boot", "--kernel", _files.PathOf("kernel"), "--disk", disk, "--disk", "null:1M,ro"))
        {
            SnapshotFiles.WaitBeyond(() => vmm.Lines, 0);
            string said = _files.Ctl("snapshot", saved, "--disks").Output;
            if (sharesBlocks) Assert.DoesNotContain("copied", said);
            else Assert.Contains("64 MiB of disks were copied meanwhile", said);
            Assert.Equal(content, ScratchDirectory.Sha256(Path.Combine(saved, "disk-vda")));
            if (sharesBlocks) Assert.True(IsShared(Path.Combine(saved, "disk-vda")));
            // It goes on, and may write.
            SnapshotFiles.WaitBeyond(() => vmm.Lines, TickingKernel.Numbers(vmm.Lines)[^1]);
        }
        using (FileStream writing = new(disk, FileMode.Open)) writing.WriteByte(1);

        string options = $"path={own},from={Path.Combine(saved, "disk-vda")}";
        using (VmmProcess clone = _files.Start("boot", "--restore", saved, "--strict", "--disk", options, "--disk", "null:1M,ro"))
        {
            SnapshotFiles.WaitBeyond(() => clone.Lines, 0);
            if (sharesBlocks) Assert.True(IsShared(own));
            Assert.Equal(!sharesBlocks, clone.HasSaid($"'{own}': copied 64 MiB of"));
        }
        Assert.Equal(content, ScratchDirectory.Sha256(own));
        // What is there is not made again, and what was written since is refused as ever.
        using (FileStream writing = new(own, FileMode.Open)) writing.WriteByte(1);
        VmmResult refused = VmmProcess.Run("boot", "--restore", saved, "--strict", "--disk", options, "--disk", "null:1M,ro");
        Assert.Equal(1, refused.ExitCode);
        Assert.Contains("was written after the machine was saved", refused.Error);
        using VmmProcess temporary = _files.Start("boot", "--restore", saved, "--strict", "--disk",
            $"{Path.Combine(saved, "disk-vda")},temporary", "--disk", "null:1M,ro");
        SnapshotFiles.WaitBeyond(() => temporary.Lines, 0);
        Assert.False(temporary.HasSaid("was temporary"));
    }

    [Fact]
    public void A_disk_that_is_no_file_is_not_saved_and_the_sentence_says_what_to_do()
    {
        using VmmProcess vmm = _files.Start("boot", "--kernel", _files.PathOf("kernel"), "--disk", "memory:1M");
        SnapshotFiles.WaitBeyond(() => vmm.Lines, 0);
        VmmResult refused = VmmProcess.Run("ctl", _files.Api, "snapshot", _files.PathOf("saved"), "--disks");
        Assert.Equal(1, refused.ExitCode);
        Assert.Contains("cannot be copied, as it is no file: save the machine without its disks", refused.Error);
        Assert.Empty(Directory.GetDirectories(_files.Scratch.Path));
    }

    [Fact]
    public void Only_what_changed_is_saved_and_brought_back_and_merged()
    {
        TickingKernel.Write(_files.PathOf("kernel"), endMiB: 64);
        string first = _files.PathOf("first"), second = _files.PathOf("second"), third = _files.PathOf("third");
        uint last;
        using (VmmProcess vmm = _files.Start("boot", "--kernel", _files.PathOf("kernel"), "--memory", "128"))
        {
            SnapshotFiles.WaitBeyond(() => vmm.Lines, 0);
            Assert.InRange(MiBOf(_files.Ctl("snapshot", first).Output), 58, 70);
            Assert.InRange(MiBOf(_files.Ctl("snapshot", second, "--diff", first).Output), 0, 1);
            VmmResult refused = VmmProcess.Run("ctl", _files.Api, "snapshot", third, "--diff", first);
            Assert.Equal(1, refused.ExitCode);
            Assert.Contains($"it was saved last, to '{second}'", refused.Error);
            SnapshotFiles.WaitBeyond(() => vmm.Lines, TickingKernel.Numbers(vmm.Lines)[^1]);
            _files.Ctl("snapshot", third, "--diff", second, "--stop");
            Assert.Equal(0, vmm.WaitForExit().ExitCode);
            last = TickingKernel.Numbers(vmm.Lines)[^1];
        }
        Assert.Contains($"a difference to '{second}'", VmmProcess.Run("state", "check", third).Output);
        GoesOn(third);
        string merged = _files.PathOf("merged");
        VmmResult whole = VmmProcess.Run("state", "merge", third, merged);
        Assert.True(whole.ExitCode == 0, whole.Error);
        Assert.InRange(MiBOf(whole.Output), 58, 70);
        Directory.Delete(second, recursive: true);
        VmmResult gone = VmmProcess.Run("boot", "--restore", third);
        Assert.Equal(1, gone.ExitCode);
        Assert.Contains($"only what changed since '{second}', which is not there", gone.Error);
        GoesOn(merged);
        Assert.Equal(0, VmmProcess.Run("state", "check", merged).ExitCode);

        void GoesOn(string saved)
        {
            using VmmProcess vmm = _files.Start("boot", "--restore", saved);
            SnapshotFiles.WaitBeyond(() => vmm.Lines, last + 5);
            Assert.InRange(TickingKernel.Numbers(vmm.Lines)[0], last, last + 2);
        }
    }

    [Fact]
    public void A_machine_is_forked_and_each_clone_has_what_only_one_can_have()
    {
        string disk = _files.Scratch.CreateImage("disk.img", SnapshotFiles.MiB), forks = _files.PathOf("forks");
        string content = ScratchDirectory.Sha256(disk);
        using VmmProcess vmm = _files.Start("boot", "--kernel", _files.PathOf("kernel"), "--memory", "64", "--disk", $"{disk},cache=writethrough",
            "--net", $"uds={_files.PathOf("net")},mac=02:00:00:00:00:01", "--vsock", $"cid=7,uds={_files.PathOf("vsock")}",
            "--console", $"uds={_files.PathOf("hvc")}", "--rng");
        uint before = SnapshotFiles.WaitBeyond(() => vmm.Lines, 0);
        int[] clones = [];
        try
        {
            string said = _files.Ctl("fork", "--count", "3", "--dir", forks).Output;
            clones = [.. Regex.Matches(said, @"process (\d+),").Select(match => int.Parse(match.Groups[1].Value))];
            Assert.Equal(3, clones.Length);
            // The machine goes on, and so do the clones, each from the same moment.
            SnapshotFiles.WaitBeyond(() => vmm.Lines, TickingKernel.Numbers(vmm.Lines)[^1] + 5);
            HashSet<string> addresses = ["02:00:00:00:00:01"];
            for (int i = 1; i <= 3; i++)
            {
                string own = Path.Combine(forks, $"{i}"), console = Path.Combine(own, "console.log");
                Assert.Contains($"{own}: process {clones[i - 1]}, API at {own}/api.sock, console in {own}/console.log", said);
                SnapshotFiles.WaitBeyond(() => File.ReadLines(console), before + 5);
                Assert.Equal(content, ScratchDirectory.Sha256(Path.Combine(own, "vda.img")));
                foreach (string socket in (string[])["net0.sock", "vsock0.sock", "console0.sock", "api.sock"])
                    Assert.True(File.Exists(Path.Combine(own, socket)), socket);
                string card = VmmProcess.Run("ctl", Path.Combine(own, "api.sock"), "get", "net0").Output;
                Assert.True(addresses.Add(Regex.Match(card, "macAddress (.*)").Groups[1].Value), card);
                Assert.Contains($"cid={7 + i},", VmmProcess.Run("ctl", Path.Combine(own, "api.sock"), "get").Output);
            }
            VmmResult again = VmmProcess.Run("ctl", _files.Api, "fork", "--dir", forks);
            Assert.Equal(1, again.ExitCode);
            Assert.Contains("is there already", again.Error);
        }
        finally
        {
            foreach (int clone in clones) SnapshotFiles.Command("kill", $"{clone}");
        }
    }

    [Fact]
    public void A_machine_whose_devices_came_and_went_goes_on_elsewhere_and_is_forked()
    {
        string first = _files.Scratch.CreateImage("first.img", SnapshotFiles.MiB), gone = _files.Scratch.CreateImage("gone.img", SnapshotFiles.MiB),
            last = _files.Scratch.CreateImage("last.img", 2 * SnapshotFiles.MiB), saved = _files.PathOf("saved"), forks = _files.PathOf("forks");
        using (VmmProcess vmm = _files.Start("boot", "--kernel", _files.PathOf("kernel"), "--memory", "64", "--disk", first, "--rng"))
        {
            SnapshotFiles.WaitBeyond(() => vmm.Lines, 0);
            Assert.Equal("vdb", _files.Ctl("add", "blk", $"path={gone}").Lines.Single());
            Assert.Equal("vdc", _files.Ctl("add", "blk", $"path={last}").Lines.Single());
            _files.Ctl("remove", "vdb");
            _files.Ctl("snapshot", saved, "--stop");
            Assert.Equal(0, vmm.WaitForExit().ExitCode);
        }
        // Of each kind in the order of the names; the names themselves are in the snapshot.
        using (VmmProcess other = _files.Start("boot", "--restore", saved, "--disk", first, "--disk", last, "--rng"))
        {
            SnapshotFiles.WaitBeyond(() => other.Lines, 0);
            Assert.Contains($"capacityBytes {2 * SnapshotFiles.MiB}", _files.Ctl("get", "vdc").Lines);
            int[] clones = [];
            try
            {
                clones = [.. Regex.Matches(_files.Ctl("fork", "--dir", forks).Output, @"process (\d+),").Select(match => int.Parse(match.Groups[1].Value))];
                Assert.Equal(ScratchDirectory.Sha256(last), ScratchDirectory.Sha256(Path.Combine(forks, "1", "vdc.img")));
                string listed = VmmProcess.Run("ctl", Path.Combine(forks, "1", "api.sock"), "ls").Output;
                Assert.Equal(["rng0", "vda", "vdc"], Regex.Matches(listed, "^(vd.|rng.)", RegexOptions.Multiline).Select(match => match.Value).Order());
                // The place and the name that are free are taken by the next.
                Assert.Equal("vdb", VmmProcess.Run("ctl", Path.Combine(forks, "1", "api.sock"), "add", "blk", $"path={gone}").Lines.Single());
            }
            finally
            {
                foreach (int clone in clones) SnapshotFiles.Command("kill", $"{clone}");
            }
        }
        VmmResult lacks = VmmProcess.Run("boot", "--restore", saved, "--disk", first, "--rng");
        Assert.Equal(1, lacks.ExitCode);
        Assert.Contains("it had 'vdc'", lacks.Error);
    }

    [Fact]
    public void A_clone_that_does_not_start_leaves_none_and_says_why()
    {
        using VmmProcess vmm = _files.Start("boot", "--kernel", _files.PathOf("kernel"), "--memory", "64", "--net", $"uds={_files.PathOf("net")}");
        SnapshotFiles.WaitBeyond(() => vmm.Lines, 0);
        // Longer than the address of a socket.
        string forks = _files.PathOf(new string('d', 80));
        VmmResult refused = VmmProcess.Run("ctl", _files.Api, "fork", "--count", "2", "--dir", forks);
        Assert.Equal(1, refused.ExitCode);
        Assert.Contains("did not start", refused.Error);
        SnapshotFiles.WaitBeyond(() => vmm.Lines, TickingKernel.Numbers(vmm.Lines)[^1]);
        Assert.NotEqual(0, SnapshotFiles.ExitCodeOf("pgrep", "-f", forks));
    }

    private static int MiBOf(string said) => int.Parse(Regex.Match(said, @": (\d+) MiB").Groups[1].Value);

    private static bool SharesBlocks(string path) => SnapshotFiles.ExitCodeOf("cp", "--reflink=always", path, path + ".share") == 0;

    /// <summary>Whether every extent of a file is another's too (filefrag(8)).</summary>
    private static bool IsShared(string path)
    {
        using System.Diagnostics.Process frag = System.Diagnostics.Process.Start(
            new System.Diagnostics.ProcessStartInfo("/usr/sbin/filefrag", ["-v", path]) { RedirectStandardOutput = true })!;
        return frag.StandardOutput.ReadToEnd().Contains("shared", StringComparison.Ordinal);
    }
}
