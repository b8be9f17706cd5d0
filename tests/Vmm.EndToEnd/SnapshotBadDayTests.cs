namespace Vmm.EndToEnd;

/// <summary>What goes wrong while machines are put away, through the tool as people use it.</summary>
public sealed class SnapshotBadDayTests : IDisposable
{
    private readonly SnapshotFiles _files = new();

    public SnapshotBadDayTests()
    {
        Assert.SkipUnless(File.Exists("/dev/kvm"), "needs /dev/kvm");
        TickingKernel.Write(_files.PathOf("kernel"));
    }

    private string Saved => _files.PathOf("saved");

    public void Dispose() => _files.Dispose();

    [Fact]
    public void A_disk_that_is_full_fails_the_save_by_a_sentence_and_the_machine_goes_on()
    {
        TickingKernel.Write(_files.PathOf("kernel"), endMiB: 32);
        string small = _files.MountSmall("8m");
        using VmmProcess vmm = _files.Start("boot", "--kernel", _files.PathOf("kernel"), "--memory", "64");
        SnapshotFiles.WaitBeyond(() => vmm.Lines, 0);
        foreach (string[] more in (string[][])[[], ["--stop"]])
        {
            VmmResult full = VmmProcess.Run(["ctl", _files.Api, "snapshot", Path.Combine(small, "saved"), .. more]);
            Assert.Equal(1, full.ExitCode);
            Assert.Contains("cannot write 'memory' of the snapshot", full.Error);
            Assert.Contains("no space left", full.Error, StringComparison.OrdinalIgnoreCase);
            Assert.Empty(Directory.GetFileSystemEntries(small));
            SnapshotFiles.WaitBeyond(() => vmm.Lines, TickingKernel.Numbers(vmm.Lines)[^1]);
        }
        _files.Ctl("snapshot", Saved);
        Assert.Equal(0, VmmProcess.Run("state", "check", Saved).ExitCode);
    }

    [Fact]
    public void A_save_that_is_interrupted_leaves_the_machine_running_and_no_half_directory()
    {
        TickingKernel.Write(_files.PathOf("kernel"), endMiB: 500);
        using VmmProcess vmm = _files.Start("boot", "--kernel", _files.PathOf("kernel"), "--memory", "512");
        SnapshotFiles.WaitBeyond(() => vmm.Lines, 0);
        int givenUp = 0;
        for (int round = 0; round < 20 && givenUp == 0; round++)
        {
            using VmmProcess ctl = new("ctl", _files.Api, "snapshot", Saved);
            SnapshotFiles.WaitUntil(() => Path.Exists(Path.Combine(Saved + ".partial", "memory")) || Directory.Exists(Saved), () => "the save does not begin");
            ctl.Signal("INT");
            VmmResult ended = ctl.WaitForExit();
            // The other process sees that the client is gone, and gives up.
            SnapshotFiles.WaitUntil(() => !Directory.Exists(Saved + ".partial"), () => "a half directory is left");
            if (Directory.Exists(Saved))
            {
                Assert.Equal(0, VmmProcess.Run("state", "check", Saved).ExitCode);
                Directory.Delete(Saved, recursive: true);
            }
            else
            {
                Assert.NotEqual(0, ended.ExitCode);
                givenUp++;
            }
            SnapshotFiles.WaitBeyond(() => vmm.Lines, TickingKernel.Numbers(vmm.Lines)[^1]);
        }
        Assert.Equal(1, givenUp);
        _files.Ctl("snapshot", Saved);
        Assert.Equal(0, VmmProcess.Run("state", "check", Saved).ExitCode);
    }

    [Fact]
    public void A_machine_that_resets_while_it_is_saved_is_saved_before_or_not_at_all()
    {
        Random random = new(1);
        TickingKernel.WriteResetting(_files.PathOf("kernel"), 6);
        int whole = 0, refused = 0;
        for (int round = 0; round < 6; round++)
        {
            using VmmProcess vmm = _files.Start("boot", "--kernel", _files.PathOf("kernel"), "--memory", "64");
            SnapshotFiles.WaitBeyond(() => vmm.Lines, (uint)random.Next(6));
            VmmResult saved = VmmProcess.Run("ctl", _files.Api, "snapshot", Saved);
            VmmResult ended = vmm.WaitForExit();
            Assert.Equal(1, ended.ExitCode);
            Assert.Contains("the guest reset the machine", ended.Error);
            Assert.False(Directory.Exists(Saved + ".partial"));
            Assert.Equal(saved.ExitCode == 0, Directory.Exists(Saved));
            if (saved.ExitCode != 0)
            {
                refused++;
                continue;
            }
            whole++;
            Assert.Equal(0, VmmProcess.Run("state", "check", Saved).ExitCode);
            using VmmProcess goesOn = _files.Start("boot", "--restore", Saved);
            Assert.Contains("the guest reset the machine", goesOn.WaitForExit().Error);
            Directory.Delete(Saved, recursive: true);
        }
        TestContext.Current.SendDiagnosticMessage($"{whole} were saved, {refused} had ended");
    }

    [Fact]
    public void A_clone_whose_disk_is_in_use_is_refused()
    {
        string disk = _files.Scratch.CreateImage("disk.img", SnapshotFiles.MiB);
        using VmmProcess vmm = _files.Start("boot", "--kernel", _files.PathOf("kernel"), "--memory", "64", "--disk", disk);
        SnapshotFiles.WaitBeyond(() => vmm.Lines, 0);
        _files.Ctl("snapshot", Saved);
        VmmResult refused = VmmProcess.Run("boot", "--restore", Saved, "--disk", disk);
        Assert.Equal(1, refused.ExitCode);
        // In a sandbox of its own it does not see the other process.
        Assert.Matches($"disk image '{disk}' is (in use by process|locked by a process that does not show here)", refused.Error);
        SnapshotFiles.WaitBeyond(() => vmm.Lines, TickingKernel.Numbers(vmm.Lines)[^1]);
    }

    [Fact]
    public void A_machine_that_goes_on_from_a_snapshot_is_saved_while_it_runs()
    {
        TickingKernel.Write(_files.PathOf("kernel"), endMiB: 200);
        using (VmmProcess vmm = _files.Start("boot", "--kernel", _files.PathOf("kernel"), "--memory", "256"))
        {
            SnapshotFiles.WaitBeyond(() => vmm.Lines, 0);
            _files.Ctl("snapshot", Saved, "--stop");
            Assert.Equal(0, vmm.WaitForExit().ExitCode);
        }
        string again = _files.PathOf("again");
        using (VmmProcess vmm = _files.Start("boot", "--restore", Saved))
        {
            SnapshotFiles.WaitBeyond(() => vmm.Lines, 0);
            _files.Ctl("snapshot", again);
            SnapshotFiles.WaitBeyond(() => vmm.Lines, TickingKernel.Numbers(vmm.Lines)[^1]);
            Assert.False(vmm.HasSaid("stands still"));
        }
        Assert.Equal(0, VmmProcess.Run("state", "check", again).ExitCode);
        using VmmProcess third = _files.Start("boot", "--restore", again);
        SnapshotFiles.WaitBeyond(() => third.Lines, 0);
    }
}
