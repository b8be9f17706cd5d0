namespace Vmm.EndToEnd;

/// <summary><c>vmm doctor</c> on the machine of the tests, and on it with something taken away.</summary>
public sealed class DoctorTests
{
    private static readonly string[] Names =
        ["kernel", "io_uring", "kvm", "sandbox", "open files", "tap", "huge pages", "inotify", "sockets", "librbd"];

    [Fact]
    public void Each_part_of_the_machine_has_a_line_that_says_how_it_is()
    {
        VmmResult result = VmmProcess.Run("doctor");
        Assert.Equal((0, ""), (result.ExitCode, result.Error));
        Assert.Equal(Names, result.Lines.Select(line => line[9..].Split("  ")[0]));
        Assert.All(result.Lines, line => Assert.Matches("^(good|limited|missing) ", line));
    }

    [Fact]
    public void What_is_taken_away_is_found_missing()
    {
        using VmmProcess vmm = new(["bash", "-c", "ulimit -n 512 && exec \"$0\" \"$@\""], ["doctor"]);
        vmm.Input.Close();
        VmmResult result = vmm.WaitForExit();
        Assert.Equal(0, result.ExitCode);
        Assert.Contains("limited  open files  512: room for about 56 disks", result.Output);
    }

    [Theory]
    [InlineData("run", 0)]
    [InlineData("boot", 1)]
    public void A_command_that_does_not_work_here_fails(string command, int exitCode)
    {
        // An empty directory in the place of /dev, in a namespace of its own.
        string[] wrapper = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", "mount -t tmpfs none /dev && exec \"$0\" \"$@\""];
        using VmmProcess vmm = new(wrapper, ["doctor", command]);
        vmm.Input.Close();
        VmmResult result = vmm.WaitForExit();
        Assert.True(exitCode == result.ExitCode, result.Output + result.Error);
        Assert.Matches("missing  kvm         there is no KVM at '/dev/kvm'.* \\(for 'vmm boot'\\)", result.Output);
        Assert.Contains("missing  tap         there is no /dev/net/tun", result.Output);
    }
}
