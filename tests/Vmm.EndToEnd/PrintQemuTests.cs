using System.Diagnostics;

namespace Vmm.EndToEnd;

/// <summary><c>vmm serve --print-qemu</c>: what it prints is pasted into a shell, and QEMU connects to every device.</summary>
public sealed class PrintQemuTests
{
    [Fact]
    public void What_is_printed_starts_a_QEMU_that_connects_to_every_device()
    {
        QemuGuest.SkipIfMissing();
        using ScratchDirectory scratch = new();
        string image = scratch.CreateImage("disk.img", 16 << 20);
        // A directory's name that a shell and QEMU would both take apart.
        string sockets = Directory.CreateDirectory(scratch.PathOf("it's, here")).FullName, escaped = sockets.Replace(",", ",,");
        string[] devices =
        [
            "--disk", $"{image},socket={escaped}/vda.sock", "--rng", $"socket={escaped}/rng.sock",
            "--net", $"uds={scratch.PathOf("peer")},mac=02:00:00:00:00:07,socket={escaped}/net.sock",
            "--vsock", $"cid=7,uds={scratch.PathOf("v")},socket={escaped}/vsock.sock",
        ];
        VmmResult printed = VmmProcess.Run(["serve", "--print-qemu", .. devices]);
        Assert.Equal((0, ""), (printed.ExitCode, printed.Error));
        Assert.Contains("mac=02:00:00:00:00:07", printed.Output);
        Assert.Empty(Directory.GetFileSystemEntries(sockets));

        using VmmProcess vmm = new(["serve", .. devices]);
        vmm.WaitFor("listening vsock");
        using Process qemu = Process.Start(new ProcessStartInfo("sh", ["-c", $"exec {printed.Output}"])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        })!;
        foreach (string name in (string[])["blk0", "rng0", "net0", "vsock0"]) vmm.WaitFor($"{name}: a front-end is connected");
        // The firmware looks whether it can start from the disk.
        vmm.WaitFor("blk0: a driver runs");
        qemu.Kill();
        qemu.WaitForExit();
        vmm.Signal("TERM");
        Assert.Equal(0, vmm.WaitForExit().ExitCode);
    }

    [Fact]
    public void A_device_that_QEMU_does_not_know_is_a_comment()
    {
        VmmResult result = VmmProcess.Run("serve", "--print-qemu", "--balloon", "socket=/run/b", "--rng", "socket=/run/r");
        Assert.Equal(0, result.ExitCode);
        Assert.Equal("# balloon0: QEMU 7.2 has no device for this kind", result.Lines[0]);
        Assert.Equal("-chardev socket,id=rng0,path=/run/r -device vhost-user-rng-pci,chardev=rng0", result.Lines[^1]);
    }
}
