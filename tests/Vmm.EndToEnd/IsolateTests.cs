using System.Diagnostics;
using System.Net.Sockets;

namespace Vmm.EndToEnd;

/// <summary><c>vmm serve --isolate</c>: a process for each device, and one that starts them.</summary>
public sealed class IsolateTests : IDisposable
{
    private const int MiB = 1 << 20;
    private static readonly TimeSpan Watchdog = TimeSpan.FromMinutes(2);

    private readonly ScratchDirectory _scratch = new();

    public IsolateTests() => Assert.SkipUnless(VmmTool.PublishedFile is not null, "tools/test.sh publishes the file and names it in VMM_TOOL");

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void Each_device_has_a_process_and_one_that_dies_is_replaced()
    {
        using VmmProcess vmm = Serve();
        vmm.WaitFor("2 processes serve a device each");
        int[] first = Children(vmm.Id);
        Assert.Equal(2, first.Length);
        // Each sees its own image only, and the starter has no filter that its children would have to share.
        int ofA = first.Single(child => Holds(child, "a.img"));
        Assert.False(Holds(ofA, "b.img"));
        Load("a");
        Load("b");
        Shell.Run("kill", "-KILL", $"{ofA}");
        vmm.WaitFor("the process of blk0 ended with signal 9: it is started again");
        WaitUntil(() => Children(vmm.Id) is { Length: 2 } next && !next.Contains(ofA) && next.Any(child => Holds(child, "a.img")), "another process");
        WaitUntil(() => Listens(_scratch.PathOf("a.sock")), "the socket");
        Load("a");
        Load("b");
        int[] last = Children(vmm.Id);
        vmm.Signal("TERM");
        VmmResult result = vmm.WaitForExit();
        Assert.True(result.ExitCode == 0, result.Error);
        Assert.All(last, child => Assert.False(Directory.Exists($"/proc/{child}")));
        Assert.False(File.Exists(_scratch.PathOf("a.sock")) || File.Exists(_scratch.PathOf("b.sock")));
        // Each listens once, as far as its reader is concerned.
        Assert.Equal(2, result.Lines.Count(line => line.StartsWith("listening", StringComparison.Ordinal)));
    }

    [Fact]
    public void A_guest_whose_device_dies_again_and_again_loses_nothing()
    {
        QemuGuest.SkipIfMissing();
        const int kills = 3;
        string socket = _scratch.PathOf("a.sock");
        using VmmProcess vmm = new("serve", "--isolate", "--blk", $"path={_scratch.CreateImage("a.img", 16 * MiB)},socket={socket},queues=2");
        vmm.WaitFor($"listening blk {socket}");
        using QemuGuest guest = new("crash", processors: 2, QemuGuest.Disk(socket, queues: 2));
        guest.WaitFor("vmm-writing");
        int killed = 0;
        for (int before = 0; killed < kills; killed++)
        {
            // One that has the guest's memory: QEMU does not come again after one that dies earlier.
            WaitUntil(() => guest.HasEnded || Children(vmm.Id).Any(child => child != before && Maps(child)), "a process that the guest uses");
            if (guest.HasEnded) break;
            before = Assert.Single(Children(vmm.Id));
            Shell.Run("kill", "-KILL", $"{before}");
        }
        guest.Say("enough");
        string[] console = guest.WaitForPowerOff();
        Assert.True(console.Contains("vmm-test crash passed"), string.Join('\n', console));
        Assert.Contains("vmm-log clean", console);
        Assert.Equal(kills, killed);
        vmm.Signal("TERM");
        Assert.Equal(0, vmm.WaitForExit().ExitCode);

        static bool Maps(int process)
        {
            try
            {
                return File.ReadLines($"/proc/{process}/maps").Any(line => line.Contains("memory-backend-memfd", StringComparison.Ordinal));
            }
            catch (IOException)
            {
                return false;
            }
        }
    }

    [Fact]
    public void They_end_when_the_one_that_started_them_is_killed()
    {
        using VmmProcess vmm = Serve();
        vmm.WaitFor("2 processes serve a device each");
        int[] children = Children(vmm.Id);
        vmm.Signal("KILL");
        vmm.WaitForExit();
        WaitUntil(() => !children.Any(child => Directory.Exists($"/proc/{child}")), "their end");
    }

    [Fact]
    public void A_device_that_cannot_be_opened_ends_all_with_its_sentence()
    {
        VmmResult result = VmmProcess.Run("serve", "--isolate", "--rng", $"socket={_scratch.PathOf("r.sock")}",
            "--blk", $"path={_scratch.PathOf("absent.img")},socket={_scratch.PathOf("a.sock")}");
        Assert.Equal(1, result.ExitCode);
        Assert.Contains("absent.img", result.Error);
        Assert.False(File.Exists(_scratch.PathOf("r.sock")));
    }

    [Fact]
    public void A_configuration_file_is_dealt_out_too_and_statistics_come_from_each()
    {
        File.WriteAllText(_scratch.PathOf("f.toml"), $"""
            command = "serve"
            isolate = true
            [[disk]]
            path = "{_scratch.CreateImage("a.img", 16 * MiB)}"
            socket = "{_scratch.PathOf("a.sock")}"
            [[rng]]
            socket = "{_scratch.PathOf("r.sock")}"
            """);
        using VmmProcess vmm = new("start", _scratch.PathOf("f.toml"));
        vmm.WaitFor("2 processes serve a device each");
        Load("a");
        vmm.Signal("USR1");
        vmm.WaitFor("blk0: front-ends 1");
        vmm.WaitFor("rng0: front-ends 0");
        vmm.Signal("TERM");
        Assert.Equal(0, vmm.WaitForExit().ExitCode);
    }

    [Fact]
    public void Each_process_has_a_control_socket_of_its_own_and_takes_no_other_device()
    {
        using VmmProcess vmm = new("serve", "--isolate", "--sandbox=require", "--api", _scratch.PathOf("api.sock"),
            "--blk", $"path={_scratch.CreateImage("a.img", 16 * MiB)},socket={_scratch.PathOf("a.sock")}",
            "--blk", $"path={_scratch.CreateImage("b.img", 16 * MiB)},socket={_scratch.PathOf("b.sock")}");
        vmm.WaitFor($"listening api {_scratch.PathOf("blk0.api.sock")}");
        vmm.WaitFor($"listening api {_scratch.PathOf("blk1.api.sock")}");
        vmm.WaitFor("2 processes serve a device each");
        VmmResult all = VmmProcess.Run("ctl", _scratch.PathOf(""), "ls");
        Assert.True(all.ExitCode == 0, all.Error);
        Assert.Matches(@"(?s)blk0 +serve +running.*blk1 +serve +running", all.Output);
        VmmResult added = VmmProcess.Run("ctl", _scratch.PathOf("blk0.api.sock"), "add", "rng", $"socket={_scratch.PathOf("r.sock")}");
        Assert.NotEqual(0, added.ExitCode);
        Assert.Contains("this process serves one device and no other (--isolate)", added.Error);
        vmm.Signal("TERM");
        Assert.Equal(0, vmm.WaitForExit().ExitCode);
        Assert.Empty(Directory.GetFiles(_scratch.PathOf(""), "*.sock"));
    }

    [Fact]
    public void A_socket_of_the_service_manager_goes_to_the_process_of_its_device_and_to_its_successor()
    {
        string image = _scratch.CreateImage("a.img", 16 * MiB), socket = _scratch.PathOf("a.sock");
        using VmmProcess vmm = new(["systemd-socket-activate", "-l", socket],
            ["serve", "--isolate", "--sandbox=require", "--blk", $"path={image},socket={socket}", "--rng", $"socket={_scratch.PathOf("r.sock")}"]);
        vmm.WaitFor("Listening on");
        Load("a");
        vmm.WaitFor("2 processes serve a device each");
        int ofA = Children(vmm.Id).Single(child => Holds(child, "a.img"));
        int other = Children(vmm.Id).Single(child => child != ofA);
        string inode = Inodes(socket).First();
        Assert.Contains(inode, Sockets(ofA));
        Assert.DoesNotContain(inode, Sockets(other));
        Shell.Run("kill", "-KILL", $"{ofA}");
        // Who connects meanwhile waits: the socket stays open in the one that started the process.
        Load("a");
        vmm.Signal("TERM");
        Assert.Equal(0, vmm.WaitForExit().ExitCode);
        Assert.True(File.Exists(socket));

        static string[] Sockets(int process) => [.. Directory.GetFileSystemEntries($"/proc/{process}/fd").Select(fd => new FileInfo(fd).LinkTarget ?? "")];

        // Of those that listen at a path (proc(5), net/unix).
        static IEnumerable<string> Inodes(string path) => File.ReadLines("/proc/net/unix").Where(line => line.EndsWith(path, StringComparison.Ordinal))
            .Select(line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries)).Where(words => words[3] == "00010000").Select(words => $"socket:[{words[6]}]");
    }

    [Fact]
    public void An_interrupt_at_the_terminal_reaches_every_process_and_is_one_request()
    {
        using VmmProcess vmm = Serve();
        vmm.WaitFor("2 processes serve a device each");
        string[] all = ["kill", "-INT", $"{vmm.Id}", .. Children(vmm.Id).Select(child => $"{child}")];
        Shell.Run(all);
        VmmResult result = vmm.WaitForExit();
        Assert.Equal(0, result.ExitCode);
        // Each has finished what was in flight: none of them took its starter's request for a second one.
        Assert.DoesNotContain("asked a second time", result.Error);
    }

    [Fact]
    public void A_process_that_waits_for_an_image_ends_with_its_starter()
    {
        string image = _scratch.CreateImage("a.img", MiB);
        using UnseenLock held = new(image);
        using VmmProcess vmm = new("serve", "--isolate", "--sandbox=off", "--blk", $"path=memory:1M,socket={_scratch.PathOf("m.sock")}",
            "--blk", $"path={image},socket={_scratch.PathOf("a.sock")}");
        vmm.WaitFor("listening blk");
        int[] children = Children(vmm.Id);
        vmm.Signal("TERM");
        VmmResult result = vmm.WaitForExit();
        Assert.True(result.ExitCode == 0, result.Error);
        Assert.All(children, child => Assert.False(Directory.Exists($"/proc/{child}")));
    }

    [Fact]
    public void What_does_not_go_with_it_is_refused()
    {
        string image = _scratch.CreateImage("a.img", 16 * MiB);
        string[] disk = ["--blk", $"path={image},socket={_scratch.PathOf("a.sock")}"];
        VmmResult api = VmmProcess.Run(["serve", "--isolate", "--api-tls", "127.0.0.1:0", "--api-cert", "c", "--api-key", "k", "--api-token", "t", .. disk]);
        Assert.Equal(2, api.ExitCode);
        Assert.Contains("--isolate with --api-tls: an address is one process's", api.Error);
        VmmResult none = VmmProcess.Run(["serve", "--isolate", "--api", _scratch.PathOf("api")]);
        Assert.Equal(2, none.ExitCode);
        Assert.Contains("--isolate without a device", none.Error);
        VmmResult assembly = VmmProcess.RunAssembly(["serve", "--isolate", .. disk]);
        Assert.Equal(1, assembly.ExitCode);
        Assert.Contains("--isolate: only the published file", assembly.Error);
    }

    private VmmProcess Serve() => new("serve", "--isolate", "--blk", $"path={_scratch.CreateImage("a.img", 16 * MiB)},socket={_scratch.PathOf("a.sock")}",
        "--blk", $"path={_scratch.CreateImage("b.img", 16 * MiB)},socket={_scratch.PathOf("b.sock")}");

    private void Load(string name)
    {
        VmmResult load = VmmProcess.Run("bench", "vhost-user-blk", "--socket", _scratch.PathOf($"{name}.sock"), "--seconds", "1", "--rw", "randrw", "--verify");
        Assert.True(load.ExitCode == 0, load.Error + load.Output);
    }

    private static int[] Children(int process) => [.. Directory.GetDirectories($"/proc/{process}/task")
        .SelectMany(task => File.ReadAllText(Path.Combine(task, "children")).Split(' ', StringSplitOptions.RemoveEmptyEntries)).Select(int.Parse)];

    private static bool Holds(int process, string file) => Directory.GetFileSystemEntries($"/proc/{process}/fd")
        .Any(fd => new FileInfo(fd).LinkTarget?.EndsWith($"/{file}", StringComparison.Ordinal) == true);

    private static bool Listens(string path)
    {
        try
        {
            using Socket socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            socket.Connect(new UnixDomainSocketEndPoint(path));
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }

    private static void WaitUntil(Func<bool> condition, string what)
    {
        for (Stopwatch clock = Stopwatch.StartNew(); !condition(); Thread.Sleep(10))
            Assert.True(clock.Elapsed < Watchdog, $"{what} does not come");
    }
}
