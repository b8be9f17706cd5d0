using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;

namespace Vmm.EndToEnd;

/// <summary>What <c>vmm</c> keeps of its rights when it serves, as the kernel says.</summary>
public sealed class SandboxTests
{
    private const int MiB = 1 << 20;

    [Fact]
    public void A_server_has_given_up_its_rights_when_it_listens()
    {
        SkipWithoutFile();
        using ScratchDirectory scratch = new();
        using VmmProcess vmm = Serve(scratch);
        // Of every thread, also of those that the runtime made before the program began.
        string[] threads = Directory.GetDirectories($"/proc/{vmm.Id}/task");
        Assert.True(threads.Length > 2);
        Assert.All(threads, thread =>
        {
            string status = File.ReadAllText(Path.Combine(thread, "status"));
            foreach (string line in (string[])["NoNewPrivs:\t1", "Seccomp:\t2", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "Umask:\t0077"])
                Assert.Contains(line, status);
            if (!Environment.IsPrivilegedProcess) return;
            Assert.Contains("CapBnd:\t0000000000000000", status);
            // The runtime's own thread has gone where the first one went.
            foreach (string link in (string[])["ns/mnt", "ns/net", "ns/ipc", "root"])
                Assert.Equal(new FileInfo($"/proc/{vmm.Id}/{link}").LinkTarget, new FileInfo(Path.Combine(thread, link)).LinkTarget);
        });
        Assert.Matches("Max core file size +0 +0", File.ReadAllText($"/proc/{vmm.Id}/limits"));
        Stop(vmm);
    }

    [Fact]
    public void A_server_that_root_starts_sees_nothing_but_what_its_options_name()
    {
        SkipWithoutFile();
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "only root makes namespaces here");
        using ScratchDirectory scratch = new();
        scratch.CreateImage("neighbour.img", MiB, sparse: true);
        Directory.CreateDirectory(scratch.PathOf("own"));
        using VmmProcess vmm = new("serve", "--blk", $"path={scratch.CreateImage("a.img", 16 * MiB)},socket={scratch.PathOf("own/s")}",
            "--console", $"file={scratch.PathOf("log")},socket={scratch.PathOf("own/c")}");
        vmm.WaitFor("listening console");
        string root = $"/proc/{vmm.Id}/root", own = $"{root}{scratch.PathOf("")}";
        Assert.DoesNotContain("root", Names(root));
        Assert.DoesNotContain("home", Names(root));
        Assert.Equal(["a.img", "log", "own"], Names(own));
        foreach (string space in (string[])["mnt", "net", "ipc"])
            Assert.NotEqual(new FileInfo($"/proc/self/ns/{space}").LinkTarget, new FileInfo($"/proc/{vmm.Id}/ns/{space}").LinkTarget);
        Assert.Contains(" / / ro,", Assert.Single(File.ReadAllLines($"/proc/{vmm.Id}/mountinfo"), line => line.Split(' ')[4] == "/"));
        VmmResult load = VmmProcess.Run("bench", "vhost-user-blk", "--socket", scratch.PathOf("own/s"), "--seconds", "1", "--verify");
        Assert.True(load.ExitCode == 0, load.Error + load.Output);
        Stop(vmm);
        Assert.Empty(Directory.GetFileSystemEntries(scratch.PathOf("own")));

        static string[] Names(string directory) => [.. Directory.GetFileSystemEntries(directory).Select(Path.GetFileName).Order()!];
    }

    [Fact]
    public void Threads_that_serve_a_guest_have_a_filter_more_and_those_of_the_pool_have_not()
    {
        SkipWithoutFile();
        using ScratchDirectory scratch = new();
        using VmmProcess vmm = new("serve", "--api", scratch.PathOf("api"), "--console", $"uds={scratch.PathOf("u")},socket={scratch.PathOf("s")}");
        vmm.WaitFor("listening api");
        // More work at a time than a pool of the smallest size has threads for.
        Task.WaitAll([.. Enumerable.Range(0, 16).Select(_ => Task.Run(() => Shell.Run("curl", "-s", "--unix-socket", scratch.PathOf("api"), "http://vmm/v1/devices")))]);
        ILookup<string, int> filters = Directory.GetDirectories($"/proc/{vmm.Id}/task").ToLookup(
            thread => File.ReadAllText(Path.Combine(thread, "comm")).Trim(), Filters);
        int all = Filters($"/proc/{vmm.Id}");
        Assert.Equal([all + 1], filters["reactor0"]);
        Assert.NotEmpty(filters[".NET TP Worker"]);
        Assert.All(filters[".NET TP Worker"], count => Assert.Equal(all, count));
        Stop(vmm);

        static int Filters(string thread) => int.Parse(File.ReadLines(Path.Combine(thread, "status"))
            .Single(line => line.StartsWith("Seccomp_filters:", StringComparison.Ordinal)).Split('\t')[1]);
    }

    [Fact]
    public void A_broker_opens_what_a_request_names_and_nothing_else()
    {
        SkipWithoutFile();
        using ScratchDirectory scratch = new();
        // What is beside a socket is seen, and not opened.
        using ScratchDirectory elsewhere = new();
        string later = elsewhere.CreateImage("later.img", 16 * MiB), other = elsewhere.CreateImage("other.img", 16 * MiB);
        string unnamed = elsewhere.CreateImage("unnamed.img", 16 * MiB);
        using VmmProcess vmm = Serve(scratch, "--sandbox=require", "--sandbox-action=kill", "--api", scratch.PathOf("api"));
        vmm.WaitFor("listening api");
        int broker = int.Parse(File.ReadAllText($"/proc/{vmm.Id}/task/{vmm.Id}/children"), CultureInfo.InvariantCulture);
        if (Environment.IsPrivilegedProcess) Assert.False(File.Exists($"/proc/{vmm.Id}/root{later}"));
        VmmResult added = Ctl("add", "blk", $"path={later},socket={scratch.PathOf("l")}");
        Assert.True(added.ExitCode == 0, added.Error);
        VmmResult load = VmmProcess.Run("bench", "vhost-user-blk", "--socket", scratch.PathOf("l"), "--seconds", "1", "--rw", "randrw", "--verify");
        Assert.True(load.ExitCode == 0, load.Error + load.Output);
        // Another medium is named by a request too. What none names is not seen.
        VmmResult changed = Ctl("set", "blk1", $"medium={other}");
        Assert.True(changed.ExitCode == 0, changed.Error);
        if (Environment.IsPrivilegedProcess) Assert.False(File.Exists($"/proc/{vmm.Id}/root{unnamed}"));
        Assert.Equal(0, Ctl("remove", "blk1").ExitCode);
        Assert.False(File.Exists(scratch.PathOf("l")));
        Assert.True(File.Exists(later));
        Match cost = Regex.Match(Stop(vmm).Error, @"a broker opens what requests to the API name: ([0-9.]+) MiB of memory of its own");
        Assert.True(cost.Success && double.Parse(cost.Groups[1].Value, CultureInfo.InvariantCulture) is > 0 and <= 2.5, cost.Value);
        for (Stopwatch clock = Stopwatch.StartNew(); Directory.Exists($"/proc/{broker}"); Thread.Sleep(10))
            Assert.True(clock.Elapsed < TimeSpan.FromMinutes(1), "the broker does not end");
        Assert.False(File.Exists(scratch.PathOf("api")));

        VmmResult Ctl(params string[] words) => VmmProcess.Run(["ctl", scratch.PathOf("api"), .. words]);
    }

    [Fact]
    public void A_TAP_interface_that_a_request_names_is_attached_to_and_again_when_it_was_made_anew()
    {
        SkipWithoutFile();
        UmlGuest.SkipIfMissing();
        NetworkNamespace.SkipWithoutPrivilege();
        using ScratchDirectory scratch = new();
        using NetworkNamespace network = new();
        network.AddTap("tap0", "10.77.0.1/24");
        string socket = scratch.PathOf("net"), api = scratch.PathOf("api");
        using VmmProcess vmm = new(network.Wrapper,
            ["serve", "--sandbox=require", "--sandbox-action=kill", "--api", api, .. UmlGuest.ServeOptions]);
        vmm.WaitFor("listening api");
        VmmResult added = VmmProcess.Run("ctl", api, "add", "net", $"tap=tap0,socket={socket}");
        Assert.True(added.ExitCode == 0, added.Error);
        network.Execute("ip", "link", "del", "tap0");
        network.AddTap("tap0", "10.77.0.1/24");
        using (NetPeers host = new(network, downBytes: 4 * MiB))
        using (UmlGuest guest = new("net", UmlGuest.NetAt(socket)))
        {
            string[] console = guest.WaitForPowerOff();
            Assert.True(console.Contains("vmm-test net passed"), string.Join('\n', console));
            Assert.Contains($"vmm-net down {host.Down}", console);
        }
        Stop(vmm);
    }

    [Fact]
    public void A_process_whose_broker_is_killed_serves_on_and_its_broker_ends_with_it()
    {
        SkipWithoutFile();
        using ScratchDirectory scratch = new();
        using VmmProcess vmm = Serve(scratch, "--sandbox=require", "--api", scratch.PathOf("api"));
        vmm.WaitFor("listening api");
        Shell.Run("kill", "-KILL", File.ReadAllText($"/proc/{vmm.Id}/task/{vmm.Id}/children").Trim());
        VmmResult load = VmmProcess.Run("bench", "vhost-user-blk", "--socket", scratch.PathOf("s"), "--seconds", "1", "--verify");
        Assert.True(load.ExitCode == 0, load.Error + load.Output);
        Stop(vmm);
    }

    [Fact]
    public void An_image_that_another_process_has_is_refused_with_that_processs_number()
    {
        SkipWithoutFile();
        using ScratchDirectory scratch = new();
        using VmmProcess first = Serve(scratch, "--sandbox=require");
        VmmResult second = VmmProcess.Run("serve", "--sandbox=require", "--blk", $"path={scratch.PathOf("a.img")},socket={scratch.PathOf("other")}");
        Assert.Equal(1, second.ExitCode);
        Assert.Contains($"is in use by process {first.Id} (", second.Error);
        Stop(first);
    }

    [Fact]
    public void An_image_that_is_locked_is_refused_soon_while_devices_are_served_and_the_sandbox_is_named_where_it_refused()
    {
        SkipWithoutFile();
        const string hint = "in its sandbox this process opens less";
        using ScratchDirectory scratch = new();
        string image = scratch.CreateImage("locked.img", MiB);
        using UnseenLock held = new(image);
        using VmmProcess vmm = Serve(scratch, "--sandbox=require", "--api", scratch.PathOf("api"));
        vmm.WaitFor("listening api");
        Stopwatch clock = Stopwatch.StartNew();
        string locked = Refused($"path={image},socket={scratch.PathOf("l")}");
        Assert.Contains($"'{image}' is locked by a process that does not show here", locked);
        Assert.DoesNotContain(hint, locked);
        // A start waits half a minute for such a lock.
        Assert.True(clock.Elapsed < TimeSpan.FromSeconds(20), $"{clock.Elapsed}");
        string absent = Refused($"path={scratch.PathOf("absent")},socket={scratch.PathOf("l")}");
        Assert.Contains("no such file", absent);
        Assert.DoesNotContain(hint, absent);
        // No broker connects to a server over TCP.
        Assert.Contains(hint, Refused($"path=nbd://127.0.0.1:1/x,socket={scratch.PathOf("l")}"));
        Stop(vmm);

        string Refused(string options)
        {
            VmmResult refused = VmmProcess.Run("ctl", scratch.PathOf("api"), "add", "blk", options);
            Assert.NotEqual(0, refused.ExitCode);
            return refused.Error;
        }
    }

    [Fact]
    public void What_it_inherits_is_closed_and_directories_too()
    {
        SkipWithoutFile();
        using ScratchDirectory scratch = new();
        using VmmProcess vmm = new(["sh", "-c", "exec \"$@\" 8</etc 9</etc/passwd", "sh"], ["serve", .. DiskOf(scratch)]);
        vmm.WaitFor("listening");
        string?[] open = [.. Directory.GetFileSystemEntries($"/proc/{vmm.Id}/fd").Select(fd => new FileInfo(fd).LinkTarget)];
        Assert.Contains(scratch.PathOf("a.img"), open);
        Assert.DoesNotContain("/etc", open);
        Assert.DoesNotContain("/etc/passwd", open);
        Stop(vmm);
    }

    [Fact]
    public void A_process_with_another_thread_is_refused_before_that_thread_could_keep_its_rights()
    {
        SkipWithoutFile();
        using ScratchDirectory scratch = new();
        File.WriteAllText(scratch.PathOf("thread.c"), """
            #include <pthread.h>
            #include <unistd.h>
            static void *wait(void *nothing) { for (;;) pause(); }
            __attribute__((constructor)) static void start(void) { pthread_t thread; pthread_create(&thread, 0, wait, 0); }
            """);
        string library = scratch.PathOf("thread.so");
        Shell.Run("cc", "-shared", "-fPIC", "-o", library, scratch.PathOf("thread.c"), "-lpthread");
        using VmmProcess vmm = new(["env", $"LD_PRELOAD={library}"], ["serve", .. DiskOf(scratch)]);
        VmmResult refused = vmm.WaitForExit();
        Assert.Equal(1, refused.ExitCode);
        Assert.Contains("this process has 3 threads before it goes into its sandbox", refused.Error);
    }

    [Fact]
    public void Without_a_sandbox_it_keeps_what_it_was_given()
    {
        SkipWithoutFile();
        using ScratchDirectory scratch = new();
        using VmmProcess vmm = Serve(scratch, "--sandbox=off");
        string status = File.ReadAllText($"/proc/{vmm.Id}/status");
        Assert.Contains("NoNewPrivs:\t0", status);
        Assert.Contains("Seccomp:\t0", status);
        Stop(vmm);
    }

    [Theory]
    [InlineData("--sandbox=require")]
    [InlineData("--sandbox-action=kill")]
    public void A_disk_is_served_in_a_sandbox_without_a_word(string option)
    {
        SkipWithoutFile();
        using ScratchDirectory scratch = new();
        using VmmProcess vmm = Serve(scratch, option);
        VmmResult load = VmmProcess.Run("bench", "vhost-user-blk", "--socket", scratch.PathOf("s"), "--seconds", "1", "--rw", "randrw", "--verify");
        Assert.True(load.ExitCode == 0, load.Error + load.Output);
        Assert.DoesNotContain("sandbox", Stop(vmm).Error);
    }

    [Fact]
    public void It_becomes_the_user_that_is_named()
    {
        SkipWithoutFile();
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "only root may become another user");
        using ScratchDirectory scratch = new();
        // A user of no name may not look into the checkout.
        string copy = scratch.PathOf("vmm"), own = scratch.PathOf("own");
        File.Copy(VmmTool.PublishedFile!, copy);
        File.SetUnixFileMode(scratch.PathOf(""), UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute | UnixFileMode.OtherExecute);
        Directory.CreateDirectory(own);
        scratch.CreateImage("own/a.img", MiB, sparse: true);
        Shell.Run("chown", "-R", "4711:4712", own);
        string command = $"""
            '{copy}' serve --user 4711:4712 --blk path='{own}/a.img',socket='{own}/s' >'{scratch.PathOf("out")}' 2>&1 & vmm=$!
            until grep -qs listening '{scratch.PathOf("out")}'; do kill -0 $vmm || exit 1; sleep 0.1; done
            grep -E 'Uid|Gid|Groups' /proc/$vmm/status; kill $vmm; wait $vmm
            """;
        string[] status = Shell.Lines(Shell.Run("sh", "-c", command));
        Assert.Equal(["Uid:\t4711\t4711\t4711\t4711", "Gid:\t4712\t4712\t4712\t4712", "Groups:\t"], status.Select(line => line.TrimEnd(' ')));
    }

    [Theory]
    [InlineData("--user=no-such-user", 2, "there is no user 'no-such-user'")]
    [InlineData("--user=1:x", 2, "'x' is no number of a group")]
    [InlineData("--user=1 --sandbox=off", 2, "with --sandbox=off this process stays who it is")]
    [InlineData("--sandbox=maybe", 2, "give auto, require or off")]
    public void What_makes_no_sense_is_refused_in_a_sentence(string options, int code, string sentence)
    {
        SkipWithoutFile();
        using ScratchDirectory scratch = new();
        VmmResult result = VmmProcess.Run(["serve", .. options.Split(' '), .. DiskOf(scratch)]);
        Assert.Equal(code, result.ExitCode);
        Assert.Contains(sentence, result.Error);
        Assert.DoesNotContain("   at ", result.Error);
    }

    [Fact]
    public void A_configuration_that_comes_by_a_pipe_is_read_once()
    {
        SkipWithoutFile();
        using ScratchDirectory scratch = new();
        using VmmProcess vmm = new("start", "/dev/stdin");
        vmm.Input.Write($"command = 'serve'\n[[rng]]\nsocket = '{scratch.PathOf("s")}'\n");
        vmm.Input.Close();
        vmm.WaitFor("listening rng");
        Stop(vmm);
    }

    [Fact]
    public void The_build_that_compiles_itself_says_that_it_has_none()
    {
        using ScratchDirectory scratch = new();
        VmmResult refused = VmmProcess.RunAssembly(["serve", "--sandbox=require", .. DiskOf(scratch)]);
        Assert.Equal(1, refused.ExitCode);
        Assert.Contains("--sandbox=require: only the published file can lock itself up", refused.Error);
    }

    private static void SkipWithoutFile() => Assert.SkipUnless(VmmTool.PublishedFile is not null, "tools/test.sh publishes the file and names it in VMM_TOOL");

    private static string[] DiskOf(ScratchDirectory scratch) => ["--blk", $"path={scratch.CreateImage("a.img", 16 * MiB)},socket={scratch.PathOf("s")}"];

    private static VmmProcess Serve(ScratchDirectory scratch, params string[] options)
    {
        VmmProcess vmm = new(["serve", .. options, .. DiskOf(scratch)]);
        vmm.WaitFor("listening");
        return vmm;
    }

    private static VmmResult Stop(VmmProcess vmm)
    {
        vmm.Signal("TERM");
        VmmResult result = vmm.WaitForExit();
        Assert.True(result.ExitCode == 0, result.Error);
        return result;
    }
}
