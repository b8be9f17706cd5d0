using System.Text.Json;

namespace Vmm.EndToEnd;

/// <summary>The tool as one native file, as <c>tools/publish.sh</c> makes it.</summary>
public sealed class PublishedFileTests
{
    private const long FileBytesMax = 24_000_000;

    [Fact]
    public void It_is_one_file_that_needs_the_C_library_and_no_other()
    {
        string file = PublishedFile();
        string[] libraries = [.. Shell.Lines(Shell.Run("ldd", file)).Select(line => Path.GetFileName(line.Trim().Split(' ', '.')[0]))];
        Assert.All(libraries, library => Assert.Contains(library, (string[])["linux-vdso", "libc", "libm", "ld-linux-x86-64"]));
        Assert.Contains("libc", libraries);
        // Nor does it look for others when it runs: libssl is for disks at nbds:// addresses, librbd for those in a cluster.
        string loaded = Shell.Run("sh", "-c", $"LD_DEBUG=files '{file}' run --exec poweroff 2>&1");
        Assert.Contains("libc.so.6", loaded);
        Assert.DoesNotContain("libssl", loaded);
        Assert.DoesNotContain("librbd", loaded);
        Assert.InRange(new FileInfo(file).Length, 1, FileBytesMax);
    }

    /// <summary>
    /// The native compiler inlines because it is asked to (decision 200), its profile (decision 226) aside. A method that is inlined wherever
    /// it is called has no symbol.
    /// </summary>
    [Theory]
    [InlineData("IoUringQueue__get_HasTaskWork", "the compiler's preference for speed")]
    [InlineData("ChainCursor__Advance", "its attribute")]
    [InlineData("TurnBudget__get_IsSpent", "its attribute")]
    public void What_each_request_passes_is_inlined(string method, string cause)
    {
        string symbols = Shell.Run("nm", PublishedFile() + ".dbg");
        Assert.Contains("Vmm_Devices_QueueKick__Serve", symbols);
        Assert.False(symbols.Contains($"_{method}\n"), $"{method} is called, not inlined: {cause} is gone");
    }

    [Fact]
    public void It_runs_without_privilege_and_without_dotnet()
    {
        string[] noPrivilege = Environment.IsPrivilegedProcess
            ? ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all"]
            : [];
        // A user of no name may not look into the checkout.
        using ScratchDirectory scratch = new();
        string copy = scratch.PathOf("vmm");
        File.Copy(PublishedFile(), copy);
        File.SetUnixFileMode(scratch.PathOf(""), UnixFileMode.UserRead | UnixFileMode.UserExecute | UnixFileMode.OtherExecute);
        string output = Shell.Run([.. noPrivilege, "env", "-i", copy, "run", "--stats", "json", "--exec", "lsdev; poweroff"]);
        using JsonDocument statistics = JsonDocument.Parse(output.TrimEnd().Split('\n')[^1]);
        Assert.Equal(0, statistics.RootElement.GetProperty("reactor").GetProperty("ghosts").GetInt64());
    }

    [Fact]
    public void The_build_beside_the_tests_does_the_same()
    {
        string[] arguments = ["run", "--vcpus", "2", "--exec", "lsdev; fill vda 42; sha256 vda; poweroff", "--stats", "json"];
        VmmResult published = VmmProcess.Run(arguments), assembly = VmmProcess.RunAssembly(arguments);
        Assert.Equal(0, assembly.ExitCode);
        Assert.Equal(published.Lines[..^1], assembly.Lines[..^1]);
        Assert.Equal(published.Error, assembly.Error);
        Assert.Equal(VmmProcess.Run("serve", "--help").Output, VmmProcess.RunAssembly("serve", "--help").Output);
        Assert.Equal(2, VmmProcess.RunAssembly("serve").ExitCode);
    }

    [Fact]
    public void A_directory_that_cannot_be_written_is_refused_in_a_sentence() => AssertRefused("'/proc/vmm'", ["/proc/vmm"]);

    [Fact]
    public void A_machine_without_a_compiler_is_told_what_to_install()
    {
        using ScratchDirectory scratch = new();
        // Everything of /usr/bin but the compiler.
        foreach (string program in (string[])["bash", "dirname", "mkdir", "mktemp", "rm", "env"])
            File.CreateSymbolicLink(scratch.PathOf(program), $"/usr/bin/{program}");
        File.WriteAllText(scratch.PathOf("dotnet"), "#!/bin/sh\nexit 1\n");
        File.SetUnixFileMode(scratch.PathOf("dotnet"), UnixFileMode.UserRead | UnixFileMode.UserExecute);
        AssertRefused("gcc", [scratch.PathOf("out")], ("PATH", scratch.PathOf("")));
        File.WriteAllText(scratch.PathOf("gcc"), "#!/bin/sh\nexit 1\n");
        File.SetUnixFileMode(scratch.PathOf("gcc"), UnixFileMode.UserRead | UnixFileMode.UserExecute);
        File.CreateSymbolicLink(scratch.PathOf("objcopy"), "/bin/true");
        AssertRefused("libc6-dev", [scratch.PathOf("out")], ("PATH", scratch.PathOf("")));
        Assert.Empty(Directory.GetFileSystemEntries(scratch.PathOf("out")));
    }

    [Fact]
    public void A_build_that_fails_says_why_and_leaves_the_old_file()
    {
        using ScratchDirectory scratch = new();
        Directory.CreateDirectory(scratch.PathOf("bin"));
        File.WriteAllText(scratch.PathOf("vmm"), "old");
        File.WriteAllText(scratch.PathOf("bin/dotnet"), "#!/bin/sh\necho 'x.cs(1,1): error IL2026: not for this compiler'\nexit 1\n");
        File.SetUnixFileMode(scratch.PathOf("bin/dotnet"), UnixFileMode.UserRead | UnixFileMode.UserExecute);
        AssertRefused("IL2026", [scratch.PathOf("")], ("PATH", $"{scratch.PathOf("bin")}:{Environment.GetEnvironmentVariable("PATH")}"));
        Assert.Equal("old", File.ReadAllText(scratch.PathOf("vmm")));
        Assert.Equal(2, Directory.GetFileSystemEntries(scratch.PathOf("")).Length);
    }

    [Fact, Trait("Long", "true")]
    public void The_same_sources_give_the_same_bytes_wherever_they_lie()
    {
        string file = PublishedFile();
        using ScratchDirectory scratch = new();
        // A clone has the same commit and none of what was built.
        string clone = scratch.PathOf("clone");
        Shell.Run("git", "clone", "-q", Repository.Root, clone);
        Shell.Run(Path.Combine(clone, "tools/publish.sh"));
        Assert.Equal(ScratchDirectory.Sha256(file), ScratchDirectory.Sha256(Path.Combine(clone, "artifacts/vmm/vmm")));
    }

    [Theory]
    [InlineData("", false)]
    [InlineData("--core", true)]
    public void A_crash_leaves_a_core_for_gdb_if_that_was_asked_for(string option, bool leavesCore)
    {
        string file = PublishedFile();
        using ScratchDirectory scratch = new();
        string image = scratch.CreateImage("disk.img", 1 << 20), output = scratch.PathOf("output");
        // It crashes in a directory of its own, for that is where the kernel's pattern 'core' leaves it.
        Assert.SkipUnless(File.ReadAllText("/proc/sys/kernel/core_pattern").Trim() == "core", "core files go elsewhere on this machine");
        Shell.Run("sh", "-c", $"""
            cd {scratch.PathOf("")} && ulimit -S -c {(leavesCore ? "0" : "unlimited")}
            {file} serve {option} --blk path={image},socket=s >{output} & vmm=$!
            until grep -q listening {output}; do kill -0 $vmm; sleep 0.1; done
            kill -ABRT $vmm; wait $vmm; true
            """);
        string[] cores = Directory.GetFiles(scratch.PathOf(""), "core*");
        Assert.Equal(leavesCore ? 1 : 0, cores.Length);
        if (!leavesCore) return;
        string stacks = Shell.Run("gdb", "-batch", "-ex", "thread apply all backtrace", file, cores[0]);
        Assert.Contains("Reactor__Run", stacks);
        Assert.Contains("/vmm/src/Vmm.Events/Reactor/Reactor.Run.cs:", stacks);
    }

    [Fact]
    public void A_core_that_the_hard_limit_forbids_is_refused_in_a_sentence()
    {
        (int exitCode, string output) = Shell.Try("prlimit", "--core=0:0", PublishedFile(), "run", "--core", "--exec", "poweroff");
        Assert.Equal(2, exitCode);
        Assert.Contains("LimitCORE=infinity", output);
    }

    [Fact]
    public void An_idle_server_does_not_wake_up()
    {
        const int Disks = 50;
        using ScratchDirectory scratch = new();
        using VmmProcess vmm = new(["serve", .. Enumerable.Range(0, Disks).SelectMany(i =>
            (string[])["--blk", $"path={scratch.CreateImage($"{i}.img", 1 << 20, sparse: true)},socket={scratch.PathOf($"{i}.sock")}"])]);
        vmm.WaitFor($"listening blk {scratch.PathOf($"{Disks - 1}.sock")}");
        // The runtime has work of its own after the start, which ends. What a device does again and again leaves no such time free.
        Assert.True(Enumerable.Range(0, 30).Any(_ => WakeUps() == 0), "its threads wake up again and again");
        vmm.Signal("TERM");
        Assert.Equal(0, vmm.WaitForExit().ExitCode);

        long WakeUps()
        {
            long before = VmmProcess.Sleeps(vmm.Id);
            Thread.Sleep(TimeSpan.FromSeconds(2));
            return VmmProcess.Sleeps(vmm.Id) - before;
        }
    }

    private static string PublishedFile()
    {
        Assert.SkipUnless(VmmTool.PublishedFile is not null, "tools/test.sh publishes the file and names it in VMM_TOOL");
        return VmmTool.PublishedFile!;
    }

    private static void AssertRefused(string word, string[] arguments, params (string Name, string Value)[] environment)
    {
        (int exitCode, string output) = Shell.Try(
        [
            "env", .. environment.Select(variable => $"{variable.Name}={variable.Value}"),
            "/usr/bin/bash", Repository.PathOf("tools/publish.sh"), .. arguments,
        ]);
        Assert.Equal(1, exitCode);
        Assert.StartsWith("publish: ", output.TrimEnd().Split('\n')[^1]);
        Assert.Contains(word, output);
    }
}
