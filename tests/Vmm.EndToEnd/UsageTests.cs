namespace Vmm.EndToEnd;

/// <summary>A command line that makes no sense: one sentence on standard error, exit code 2, no trace.</summary>
public sealed class UsageTests
{
    [Theory]
    [InlineData("run", "--vcpus", "0")]
    [InlineData("run", "--vcpus", "10000")]
    [InlineData("run", "--vcpus", "many")]
    [InlineData("run", "--memory", "0")]
    [InlineData("run", "--no-such-option")]
    [InlineData("run", "--disk", "image,wrong")]
    [InlineData("run", "--console", "pty,uds=s")]
    [InlineData("run", "--console", "pty", "--console", "pty,name=console")]
    [InlineData("run", "--balloon", "target=many")]
    [InlineData("run", "--balloon", "target=16777216")]
    [InlineData("run", "--balloon", "control=")]
    [InlineData("run", "--memory", "256", "--balloon", "target=257")]
    [InlineData("run", "--console", "pty,keep=0")]
    [InlineData("run", "--console", "pty,keep=2G")]
    [InlineData("run", "--console", "pty,keep=1M,block")]
    [InlineData("boot", "--kernel", "k", "--on-crash", "burn")]
    [InlineData("run", "--vcpus", "1\nvmm: all is well\u001b[2J")]
    [InlineData("@/dev/zero")]
    [InlineData("[suggest]", "run", "--=x")]
    [InlineData("run", "stray")]
    [InlineData("run", "--engine", "fastest")]
    [InlineData("run", "--rng", "perhaps")]
    [InlineData("run", "--vcpus", "1", "--vcpus", "1")]
    [InlineData("run", "--vcpus")]
    [InlineData("boot")]
    [InlineData("boot", "--kernel", "--vcpus", "2")]
    [InlineData("boot", "--kernel", "k", "--no-acpi", "--vcpus", "2")]
    [InlineData("serve")]
    [InlineData("bench")]
    [InlineData("bench", "no-such-device")]
    [InlineData("ctl", "ls")]
    [InlineData("boot", "--kernel", "")]
    [InlineData("boot", "--restore", "")]
    [InlineData("boot", "--kernel", "k", "--config", "")]
    [InlineData("ctl", "s", "snapshot", "")]
    [InlineData("ctl", "s", "snapshot", "a", "--diff", "")]
    [InlineData("ctl", "s", "fork", "--dir", "")]
    [InlineData("ctl", "s", "get", "")]
    [InlineData("ctl", "https://h:1", "--ca", "", "ls")]
    [InlineData("top", "")]
    [InlineData("discover", "")]
    [InlineData("discover", ".", "--output", "")]
    [InlineData("state", "show", "")]
    [InlineData("state", "check", "")]
    [InlineData("state", "merge", "a", "")]
    [InlineData("start", "")]
    [InlineData("check", "")]
    [InlineData("config", "show", "run", "--config", "")]
    [InlineData("bench", "vhost-user-blk", "--socket", "")]
    [InlineData("bench", "vhost-user-blk", "--socket", "s", "--json", "")]
    [InlineData("doctor", "no-such-command")]
    [InlineData("no-such-command")]
    [InlineData]
    public void Is_answered_by_one_sentence_and_exit_code_2(params string[] arguments)
    {
        VmmResult result = VmmProcess.Run(arguments);
        Assert.Equal(2, result.ExitCode);
        Assert.StartsWith("vmm: ", result.Error);
        Assert.Single(result.Error.Split('\n', StringSplitOptions.RemoveEmptyEntries));
        Assert.DoesNotContain("   at ", result.Error);
        // Nor is anything left of the lines in which the parser or the runtime says things.
        Assert.DoesNotContain("??", result.Error);
        Assert.DoesNotContain("Parameter '", result.Error);
    }

    [Fact]
    public void A_directory_that_has_been_removed_is_named()
    {
        using ScratchDirectory scratch = new();
        string directory = Directory.CreateDirectory(scratch.PathOf("gone")).FullName;
        using VmmProcess vmm = new(["sh", "-c", $"cd '{directory}'; rmdir '{directory}'; exec \"$@\"", "sh"], ["state", "show", "saved"]);
        VmmResult refused = vmm.WaitForExit();
        Assert.Equal(1, refused.ExitCode);
        Assert.Contains("the directory that this was started in has been removed", refused.Error);
    }

    [Theory]
    [InlineData("serve", "--rng", "socket=s")]
    [InlineData("serve", "--sandbox=off", "--rng", "socket=s")]
    public void A_process_that_gets_no_further_thread_is_refused_in_a_sentence(params string[] words)
    {
        Assert.SkipUnless(VmmTool.PublishedFile is not null, "the runtime that compiles needs more at its own start");
        using ScratchDirectory scratch = new();
        using VmmProcess poor = new(["sh", "-c", $"cd {scratch.Path}; ulimit -v 100000; exec \"$@\"", "sh"], words);
        poor.Input.Close();
        VmmResult refused = poor.WaitForExit();
        Assert.Equal(1, refused.ExitCode);
        Assert.Contains("this process gets no more memory or threads", refused.Error);
        Assert.DoesNotContain("   at ", refused.Error);
    }

    [Theory]
    [InlineData("--help", "help")]
    [InlineData("--version", "version")]
    [InlineData("--version", "-v")]
    public void The_words_that_people_type_are_understood(string option, string word)
    {
        VmmResult result = VmmProcess.Run(word);
        Assert.Equal((0, VmmProcess.Run(option).Output), (result.ExitCode, result.Output));
        Assert.NotEmpty(result.Output);
    }

    [Theory]
    [InlineData("/bin/ls", "is no Linux kernel")]
    [InlineData("/usr", "is a directory: name a file in it")]
    [InlineData("/no/such/kernel", "there is no file")]
    public void What_is_no_kernel_is_refused_with_the_true_reason(string kernel, string reason)
    {
        Assert.SkipUnless(File.Exists("/dev/kvm") && Environment.IsPrivilegedProcess, "needs /dev/kvm");
        VmmResult result = VmmProcess.Run("boot", "--kernel", kernel);
        Assert.Equal(1, result.ExitCode);
        Assert.Contains(reason, result.Error);
        Assert.DoesNotContain("   at ", result.Error);
    }

    [Fact]
    public void Two_devices_at_one_socket_are_refused_before_either_is_opened()
    {
        using ScratchDirectory scratch = new();
        string socket = scratch.PathOf("s");
        VmmResult result = VmmProcess.Run("serve", "--disk", $"no-such-image,socket={socket}", "--rng", $"socket={scratch.PathOf("./s")}");
        Assert.Equal(2, result.ExitCode);
        Assert.Contains($"blk0 and rng0 have the same socket, '{socket}': give each device one of its own", result.Error);
    }

    [Fact]
    public void Closed_output_is_refused_in_a_sentence_and_closed_input_is_an_end_of_file()
    {
        using VmmProcess mute = new(["sh", "-c", "exec \"$@\" >&-", "sh"], ["run", "--exec", "poweroff"]);
        VmmResult refused = mute.WaitForExit();
        Assert.Equal(1, refused.ExitCode);
        Assert.Contains("standard output is closed", refused.Error);
        using VmmProcess deaf = new(["sh", "-c", "exec \"$@\" <&-", "sh"], ["run"]);
        Assert.Equal(0, deaf.WaitForExit().ExitCode);
    }

    [Fact]
    public void A_process_that_may_open_too_few_files_is_refused_in_a_sentence()
    {
        using VmmProcess poor = new(["sh", "-c", "ulimit -n 40; exec \"$@\"", "sh"], ["run", "--exec", "poweroff"]);
        VmmResult refused = poor.WaitForExit();
        Assert.Equal(1, refused.ExitCode);
        Assert.Contains("raise the limit", refused.Error);
        Assert.DoesNotContain("   at ", refused.Error);
    }
}
