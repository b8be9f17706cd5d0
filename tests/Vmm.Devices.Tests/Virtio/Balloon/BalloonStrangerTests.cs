using System.Diagnostics;
using Vmm.Events;
using Vmm.Tests.Native;

namespace Vmm.Devices.Tests;

/// <summary>A balloon's socket, and a process of another user.</summary>
[Collection(Alone.Name)]
public sealed class BalloonStrangerTests
{
    [Fact]
    public void Another_user_changes_nothing_whatever_the_mode_of_the_socket()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "a process of another user is needed, which root can start");
        const UnixFileMode all = (UnixFileMode)0b111_111_111;
        string directory = Directory.CreateTempSubdirectory("vmm-balloon-").FullName;
        using ReactorThread reactor = new();
        reactor.Start();
        using (BalloonDevice balloon = new("balloon0"))
        using (BalloonControl control = new(balloon, Path.Combine(directory, "control"), reactor.Remote))
        {
            File.SetUnixFileMode(directory, all);
            File.SetUnixFileMode(control.Path, all);
            string[] stranger = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
            // What a stranger sends is not read, so the end of its connection may overtake the answer: one that only reads gets it.
            Answer([.. stranger, "sh", "-c", Says(control.Path)]);
            Assert.StartsWith("error this machine is controlled by its own user", Answer([.. stranger, "socat", "-u", $"UNIX-CONNECT:{control.Path}", "-"]));
            Assert.Equal(0UL, balloon.TargetBytes);
            Assert.StartsWith("ok target_bytes=16777216", Answer(["sh", "-c", Says(control.Path)]));
        }
        Directory.Delete(directory, recursive: true);
    }

    private static string Says(string path) => $"echo target 16 | socat -t 10 - UNIX-CONNECT:'{path}'";

    private static string Answer(string[] command)
    {
        using Process process = Process.Start(new ProcessStartInfo(command[0], command[1..]) { RedirectStandardOutput = true })!;
        string said = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return said;
    }
}
