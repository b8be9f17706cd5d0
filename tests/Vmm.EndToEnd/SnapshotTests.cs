using System.Diagnostics;

namespace Vmm.EndToEnd;

/// <summary>Machines that are put away, killed and brought back, by the tool as people use it.</summary>
public sealed class SnapshotTests : IDisposable
{
    private const long MiB = 1 << 20;
    private const int Rounds = 20;
    private static readonly TimeSpan Watchdog = TimeSpan.FromMinutes(3);

    private readonly ScratchDirectory _scratch = new();

    public SnapshotTests()
    {
        Assert.SkipUnless(File.Exists("/dev/kvm"), "needs /dev/kvm");
        TickingKernel.Write(_scratch.PathOf("kernel"));
    }

    private string Api => _scratch.PathOf("api.sock");

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void A_machine_is_saved_killed_and_brought_back_again_and_again()
    {
        string disk = _scratch.CreateImage("disk.img", MiB);
        VmmProcess vmm = Boot("--disk", disk, "--rng");
        try
        {
            uint least = 1, most = 1;
            for (int round = 0; round < Rounds; round++)
            {
                Assert.InRange(FirstNumber(vmm), least, most);
                string saved = _scratch.PathOf($"saved{round}");
                least = LastNumber(vmm);
                Assert.Contains(saved, Ctl("snapshot", saved).Output);
                // One may have been on its way, and a line of it is lost where it was cut.
                most = LastNumber(vmm) + 2;
                WaitBeyond(vmm, LastNumber(vmm));
                vmm.Signal("KILL");
                vmm.WaitForExit();
                uint[] numbers = TickingKernel.Numbers(vmm.Lines);
                for (int i = 1; i < numbers.Length; i++) Assert.Equal(numbers[i - 1] + 1, numbers[i]);
                vmm.Dispose();
                vmm = GoOn(saved, "--disk", disk, "--rng");
            }
            Assert.InRange(FirstNumber(vmm), least, most);
        }
        finally
        {
            vmm.Dispose();
        }
    }

    [Fact]
    public void A_saver_that_is_killed_leaves_the_whole_snapshot_or_none()
    {
        Random random = new(1);
        string saved = _scratch.PathOf("saved");
        int whole = 0;
        for (int round = 0; round < Rounds; round++)
        {
            using VmmProcess vmm = Boot("--memory", "64");
            WaitBeyond(vmm, 0);
            using VmmProcess ctl = new("ctl", Api, "snapshot", saved);
            Thread.Sleep(random.Next(0, 150));
            vmm.Signal("KILL");
            vmm.WaitForExit();
            ctl.WaitForExit();
            if (Directory.Exists(saved))
            {
                whole++;
                Assert.Equal(0, VmmProcess.Run("state", "check", saved).ExitCode);
                Directory.Delete(saved, recursive: true);
            }
        }
        TestContext.Current.SendDiagnosticMessage($"{whole} of {Rounds} saves were whole");
        using VmmProcess last = Boot();
        WaitBeyond(last, 0);
        Ctl("snapshot", saved);
        Assert.False(Directory.Exists(saved + ".partial"));
        Assert.Equal(0, VmmProcess.Run("state", "check", saved).ExitCode);
    }

    [Fact]
    public void A_machine_that_is_saved_and_stopped_goes_on_and_what_does_not_fit_is_refused()
    {
        string disk = _scratch.CreateImage("disk.img", MiB), saved = _scratch.PathOf("saved");
        using (VmmProcess vmm = Boot("--disk", disk, "--vcpus", "2"))
        {
            WaitBeyond(vmm, 0);
            Ctl("snapshot", saved, "--stop");
            VmmResult ended = vmm.WaitForExit();
            Assert.Equal(0, ended.ExitCode);
        }
        VmmResult shown = VmmProcess.Run("state", "show", saved);
        Assert.Matches("rip +0x", shown.Output);
        Assert.Contains("memory-bytes", VmmProcess.Run("state", "show", saved, "--json").Output);
        Assert.StartsWith($"{saved}: as it was saved: 2 vCPUs, 512 MiB", VmmProcess.Run("state", "check", saved).Output);

        Refused(2, "its machine has 512 MiB of memory, not 64", "--restore", saved, "--memory", "64", "--disk", disk);
        Refused(2, "--kernel with --restore", "--restore", saved, "--kernel", "k");
        Refused(1, "it had 'vda', which this one does not have", "--restore", saved);
        Refused(1, "it did not have 'rng0'", "--restore", saved, "--disk", disk, "--rng");
        Refused(1, "a snapshot has the files", "--restore", _scratch.PathOf("."), "--disk", disk);
        File.SetLastWriteTimeUtc(disk, DateTime.UtcNow);
        Refused(1, "the image of disk 'vda' was written after the machine was saved", "--restore", saved, "--disk", disk, "--strict");
        using (VmmProcess again = GoOn(saved, "--disk", disk))
        {
            again.WaitFor("was written after the machine was saved");
            WaitBeyond(again, 0);
        }

        using (FileStream memory = new(Path.Combine(saved, "memory"), FileMode.Open))
        {
            memory.Position = 200 * MiB;
            memory.WriteByte(1);
        }
        VmmResult wrong = VmmProcess.Run("state", "check", saved);
        Assert.Equal(1, wrong.ExitCode);
        Assert.Contains($"bytes {200 * MiB} to {202 * MiB - 1}", wrong.Error);
        Refused(1, "is not as it was saved", "--restore", saved, "--disk", disk, "--strict");
    }

    [Fact]
    public void Eight_machines_go_on_from_one_snapshot_at_once()
    {
        string disk = _scratch.CreateImage("disk.img", MiB), saved = _scratch.PathOf("saved");
        uint last;
        using (VmmProcess vmm = Boot("--memory", "64", "--disk", disk))
        {
            WaitBeyond(vmm, 0);
            Ctl("snapshot", saved, "--stop");
            Assert.Equal(0, vmm.WaitForExit().ExitCode);
            last = LastNumber(vmm);
        }
        VmmProcess[] clones = [.. Enumerable.Range(0, 8).Select(_ => new VmmProcess("boot", "--restore", saved, "--disk", $"{disk},temporary"))];
        try
        {
            foreach (VmmProcess clone in clones)
            {
                Assert.InRange(FirstNumber(clone), last, last + 2);
                WaitBeyond(clone, last + 5);
            }
        }
        finally
        {
            foreach (VmmProcess clone in clones) clone.Dispose();
        }
        Assert.Equal(0, VmmProcess.Run("state", "check", saved).ExitCode);
    }

    private VmmProcess Boot(params string[] options) => Start(["boot", "--kernel", _scratch.PathOf("kernel"), .. options]);

    private VmmProcess GoOn(string saved, params string[] options) => Start(["boot", "--restore", saved, .. options]);

    private VmmProcess Start(string[] command)
    {
        File.Delete(Api);
        return new VmmProcess([.. command, "--api", Api]);
    }

    private VmmResult Ctl(params string[] words)
    {
        VmmResult result = VmmProcess.Run(["ctl", Api, .. words]);
        Assert.True(result.ExitCode == 0, result.Error);
        return result;
    }

    private void Refused(int exitCode, string sentence, params string[] options)
    {
        VmmResult result = VmmProcess.Run(["boot", .. options]);
        Assert.Equal(exitCode, result.ExitCode);
        Assert.Contains(sentence, result.Error);
    }

    private static uint FirstNumber(VmmProcess vmm)
    {
        WaitBeyond(vmm, 0);
        return TickingKernel.Numbers(vmm.Lines)[0];
    }

    private static uint LastNumber(VmmProcess vmm) => TickingKernel.Numbers(vmm.Lines)[^1];

    private static void WaitBeyond(VmmProcess vmm, uint number)
    {
        long start = Stopwatch.GetTimestamp();
        while (!TickingKernel.Numbers(vmm.Lines).Any(each => each > number))
        {
            if (Stopwatch.GetElapsedTime(start) > Watchdog) Assert.Fail($"no number beyond {number}: {string.Join(' ', vmm.Lines)}");
            Thread.Sleep(5);
        }
    }
}
