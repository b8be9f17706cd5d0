using System.Text.RegularExpressions;

namespace Vmm.EndToEnd;

/// <summary>Long work says on a terminal how far it is, in a line that it takes away again. A pipe or a file gets nothing of that.</summary>
public sealed partial class ProgressTests
{
    private const string EraseLine = "\r\u001b[K";

    /// <summary>8 MiB at 8 MiB a second: no machine is so fast that the line would not be due.</summary>
    private const string Sweeps = "fill vda 1; verify vda 1; sha256 vda; poweroff";

    private static readonly string Benchmarks = Path.GetFullPath(Path.Combine(AppContext.BaseDirectory, "..", "..", "Vmm.Benchmarks",
        Path.GetFileName(Path.TrimEndingDirectorySeparator(AppContext.BaseDirectory)), "Vmm.Benchmarks.dll"));

    [Fact]
    public void A_sweep_of_a_disk_says_on_a_terminal_how_far_it_is_and_nothing_in_a_pipe()
    {
        using ScratchDirectory scratch = new();
        string[] arguments = ["run", "--disk", $"{scratch.CreateImage("disk.img", 8 << 20)},limit=bytes=8M", "--exec", Sweeps];
        using VmmProcess shown = VmmProcess.UnderTerminal("exec", arguments);
        shown.Input.Close();
        VmmResult terminal = shown.WaitForExit();
        Assert.True(terminal.ExitCode == 0, terminal.Output);
        foreach (string what in (string[])["fill vda", "verify vda", "sha256 vda"]) Assert.Matches($"{Regex.Escape(what)}: [0-9]+ %", terminal.Output);
        // What reads the output takes a return for the end of a line.
        Assert.Contains($"{EraseLine[1..]}fill vda 1 ok", terminal.Output);

        VmmResult pipe = VmmProcess.Run(arguments);
        Assert.Equal(0, pipe.ExitCode);
        Assert.DoesNotMatch(Control(), pipe.Output + pipe.Error);
        Assert.DoesNotContain(" %", pipe.Output + pipe.Error);
    }

    [Fact]
    public void A_load_says_on_a_terminal_how_far_it_is_and_nothing_in_a_pipe()
    {
        using ScratchDirectory scratch = new();
        string socket = scratch.PathOf("s");
        using VmmProcess vmm = new("serve", "--blk", $"path=null:16M,socket={socket}");
        vmm.WaitFor("listening blk");
        string[] arguments = ["bench", "vhost-user-blk", "--socket", socket, "--seconds", "2"];
        using VmmProcess shown = VmmProcess.UnderTerminal("exec", arguments);
        VmmResult terminal = shown.WaitForExit();
        Assert.Contains($"{EraseLine[1..]}load: second 2 of 2", terminal.Output);
        VmmResult pipe = VmmProcess.Run(arguments);
        Assert.Equal((0, ""), (pipe.ExitCode, pipe.Error));
        Assert.DoesNotMatch(Control(), pipe.Output);
    }

    [Fact]
    public void A_comparison_says_on_a_terminal_which_round_it_is_in_and_nothing_in_a_pipe()
    {
        string[] command = ["dotnet", Benchmarks, "compare", "register", "--quick"];
        string terminal = Shell.Run("script", "-qec", string.Join(' ', command), "/dev/null");
        Assert.Contains($"{EraseLine}register: ", terminal);
        Assert.DoesNotMatch(Control(), Shell.Run(command));
    }

    [Fact]
    public void Publishing_and_packing_say_on_a_terminal_what_they_do_and_nothing_in_a_pipe()
    {
        using ScratchDirectory scratch = new();
        // No SDK and no time: the first thing that is asked for is refused, after the first line was shown.
        Directory.CreateDirectory(scratch.PathOf("bin"));
        foreach (string program in (string[])["dotnet", "gcc", "objcopy"])
        {
            File.WriteAllText(scratch.PathOf($"bin/{program}"), "#!/bin/sh\nexit 1\n");
            File.SetUnixFileMode(scratch.PathOf($"bin/{program}"), UnixFileMode.UserRead | UnixFileMode.UserExecute);
        }
        string command = $"PATH={scratch.PathOf("bin")}:$PATH {Repository.PathOf("tools/publish.sh")} {scratch.PathOf("out")}";
        Assert.Contains($"{EraseLine}publish: a native file is made", Shell.Try("script", "-qec", command, "/dev/null").Output);
        (int exitCode, string output) = Shell.Try("sh", "-c", command);
        Assert.Equal(1, exitCode);
        Assert.DoesNotMatch(Control(), output);
    }

    [GeneratedRegex("[\\u001b\\r]")]
    private static partial Regex Control();
}
