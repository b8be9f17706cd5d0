using System.Diagnostics;

namespace Vmm.EndToEnd;

/// <summary>A disk that hangs: an image on a file system whose process is stopped.</summary>
public sealed class HangingDiskTests
{
    private const long ImageBytes = 16 << 20;

    [Fact]
    public void A_disk_that_hangs_does_not_keep_a_server_that_is_asked_to_end()
    {
        Assert.SkipUnless(File.Exists("/dev/fuse") && Environment.IsPrivilegedProcess, "a file system of a process needs /dev/fuse");
        using ScratchDirectory scratch = new();
        string image = scratch.CreateImage("image", ImageBytes), disk = scratch.PathOf("disk"), socket = scratch.PathOf("s");
        File.WriteAllText(disk, "");
        using Process storage = Process.Start("qemu-storage-daemon",
        [
            "--blockdev", $"driver=file,node-name=n,filename={image}", "--export", $"type=fuse,id=e,node-name=n,mountpoint={disk},writable=on",
        ]);
        try
        {
            Assert.True(SpinWait.SpinUntil(() => new FileInfo(disk).Length == ImageBytes, TimeSpan.FromSeconds(60)));
            using VmmProcess vmm = new("serve", "--blk", $"path={disk},socket={socket}");
            vmm.WaitFor("listening");
            Signal(storage, "STOP");
            using VmmProcess load = new("bench", "vhost-user-blk", "--socket", socket, "--seconds", "60");
            Assert.True(SpinWait.SpinUntil(() => IsBusy(vmm), TimeSpan.FromSeconds(60)));
            vmm.Signal("TERM");
            vmm.WaitFor("ends without it");
            // The kernel closes the image before the process is gone, and for that asks the file system.
            Signal(storage, "CONT");
            Assert.Equal(1, vmm.WaitForExit().ExitCode);
        }
        finally
        {
            Signal(storage, "CONT");
            storage.Kill();
            storage.WaitForExit();
            Process.Start("umount", ["-l", disk]).WaitForExit();
        }
    }

    /// <summary>Whether a front-end has kicked.</summary>
    private static bool IsBusy(VmmProcess vmm)
    {
        vmm.Signal("USR1");
        Thread.Sleep(200);
        return vmm.HasSaid("front-ends 1, kicks 1") || vmm.HasSaid("front-ends 1, kicks 2") || vmm.HasSaid("front-ends 1, kicks 3");
    }

    private static void Signal(Process process, string name)
    {
        using Process kill = Process.Start("kill", [$"-{name}", $"{process.Id}"]);
        kill.WaitForExit();
    }
}
