using System.Net.Sockets;
using System.Text;

namespace Vmm.EndToEnd;

/// <summary>
/// docs/system-calls.md has the calls that each command really makes. One that is new is looked at: whether the filter has to allow it, and
/// whether it comes from us, from the runtime or from the C library. It is accepted with VMM_ACCEPT_CALLS=1. A call that is listed and not
/// made is no failure: another kernel or C library needs others.
/// </summary>
public sealed class SystemCallListTests : IDisposable
{
    private const int MiB = 1 << 20;
    private const string Begin = "| call |", Made = "x", RuntimeHeading = "## Made by the runtime at any time";

    private readonly ScratchDirectory _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Theory, Trait("Long", "true")]
    [InlineData("serve disk")]
    [InlineData("serve NBD")]
    [InlineData("serve TAP")]
    [InlineData("serve vsock")]
    [InlineData("serve console")]
    [InlineData("serve --isolate")]
    [InlineData("serve --api")]
    [InlineData("boot")]
    [InlineData("boot --restore")]
    [InlineData("run")]
    public void A_command_makes_the_calls_that_the_page_lists_and_no_others(string command)
    {
        Assert.SkipUnless(VmmTool.PublishedFile is not null, "tools/test.sh publishes the file and names it in VMM_TOOL");
        Assert.SkipUnless(File.Exists("/dev/kvm"), "needs /dev/kvm");
        UmlGuest.SkipIfMissing();
        NetworkNamespace.SkipWithoutPrivilege();
        IReadOnlySet<string> made = command switch
        {
            "serve disk" => ServeDisk(),
            "serve NBD" => ServeNbd(),
            "serve TAP" => ServeNetwork(),
            "serve vsock" => ServeVsock(),
            "serve console" => ServeConsole(),
            "serve --isolate" => ServeIsolated(),
            "serve --api" => ServeByApi(),
            "boot" => Boot(),
            "boot --restore" => BootAndRestore(),
            _ => Run(),
        };
        // The last call of all: the trace is whole.
        Assert.Contains("exit_group", made);

        string page = Repository.PathOf("docs/system-calls.md"), text = File.ReadAllText(page);
        Dictionary<string, HashSet<string>> listed = Read(text);
        string[] news = [.. made.Except(listed.GetValueOrDefault(command) ?? []).Except(OfTheRuntime(text))];
        if (Environment.GetEnvironmentVariable("VMM_ACCEPT_CALLS") != "1")
        {
            Assert.True(news.Length == 0, $"'{command}' makes calls that docs/system-calls.md does not list: {string.Join(", ", news)}: "
                + "look at who makes them and whether they are needed; accept them with VMM_ACCEPT_CALLS=1");
            return;
        }
        listed[command] = [.. made, .. listed.GetValueOrDefault(command) ?? []];
        File.WriteAllText(page, Write(text, listed));
    }

    private IReadOnlySet<string> ServeDisk()
    {
        using SystemCallTrace trace = Serve([], "--blk", $"path={_scratch.CreateImage("disk.img", 16 * MiB)},socket={_scratch.PathOf("blk")}");
        using (UmlGuest guest = new("blk", UmlGuest.DiskAt(_scratch.PathOf("blk")))) AssertPassed(guest, "blk");
        Load("blk");
        return trace.Stop();
    }

    private IReadOnlySet<string> ServeNbd()
    {
        using System.Diagnostics.Process server = System.Diagnostics.Process.Start("qemu-nbd",
            ["--persistent", "--format=raw", "--shared=8", $"--socket={_scratch.PathOf("n")}", _scratch.CreateImage("nbd.img", 16 * MiB)]);
        try
        {
            ListeningSocket.WaitFor(_scratch.PathOf("n"));
            using SystemCallTrace trace = Serve([], "--blk", $"path=nbd+unix:///?socket={_scratch.PathOf("n")},socket={_scratch.PathOf("nbd")}");
            Load("nbd");
            return trace.Stop();
        }
        finally
        {
            server.Kill();
            server.WaitForExit();
        }
    }

    private IReadOnlySet<string> ServeNetwork()
    {
        using NetworkNamespace network = new();
        network.AddTap("tap0", "10.77.0.1/24");
        using NetPeers host = new(network, downBytes: 4 * MiB);
        using SystemCallTrace trace = Serve(network.Wrapper, "--net", $"socket={_scratch.PathOf("net")},tap=tap0");
        using (UmlGuest guest = new("net", UmlGuest.NetAt(_scratch.PathOf("net")))) AssertPassed(guest, "net");
        return trace.Stop();
    }

    private IReadOnlySet<string> ServeVsock()
    {
        using SystemCallTrace trace = Serve([], "--vsock", $"socket={_scratch.PathOf("vsock")},cid=42,uds={_scratch.PathOf("v")}");
        using VsockHost host = new(_scratch.PathOf("v"));
        host.Echo(5001);
        using UmlGuest guest = new("vsockecho", UmlGuest.VsockAt(_scratch.PathOf("vsock")));
        guest.WaitFor("vmm-vsock serving 6000");
        host.EchoMany(6000, count: 10, atOnce: 2);
        using (Socket last = host.Connect(6000)) last.Send("quit"u8);
        AssertPassed(guest, "vsockecho");
        return trace.Stop();
    }

    private IReadOnlySet<string> ServeConsole()
    {
        using SystemCallTrace trace = Serve([], "--console", $"socket={_scratch.PathOf("console")},uds={_scratch.PathOf("c")}");
        using Socket host = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { ReceiveTimeout = 60_000 };
        host.Connect(new UnixDomainSocketEndPoint(_scratch.PathOf("c")));
        using UmlGuest guest = new("console", UmlGuest.ConsoleAt(_scratch.PathOf("console")));
        using StreamReader screen = new(new NetworkStream(host), Encoding.ASCII);
        Assert.Equal("the guest speaks", screen.ReadLine());
        host.Send("the host speaks\n"u8);
        Assert.Equal("the guest hears", screen.ReadLine());
        AssertPassed(guest, "console");
        return trace.Stop();
    }

    private IReadOnlySet<string> ServeIsolated()
    {
        using SystemCallTrace trace = Serve([], "--isolate", "--blk",
            $"path={_scratch.CreateImage("own.img", 16 * MiB)},socket={_scratch.PathOf("own")}", "--rng", $"socket={_scratch.PathOf("rng")}");
        Load("own");
        return trace.Stop();
    }

    private IReadOnlySet<string> ServeByApi()
    {
        string api = _scratch.PathOf("api"), later = _scratch.CreateImage("later.img", 16 * MiB), other = _scratch.CreateImage("other.img", 16 * MiB);
        using SystemCallTrace trace = Serve([], "--api", api, "--rng", $"socket={_scratch.PathOf("r")}");
        trace.Vmm.WaitFor("listening api");
        Ctl(api, "add", "blk", $"path={later},socket={_scratch.PathOf("later")}");
        Load("later");
        Ctl(api, "set", "blk0", $"medium={other}");
        Ctl(api, "ls");
        Ctl(api, "remove", "blk0");
        return trace.Stop();
    }

    private IReadOnlySet<string> Boot() => Machine(_scratch.PathOf("saved"), "--kernel", Kernel());

    private IReadOnlySet<string> BootAndRestore()
    {
        string saved = _scratch.PathOf("saved");
        Machine(saved, "--kernel", Kernel());
        return Machine(saved + "2", "--restore", saved);
    }

    private string Kernel()
    {
        string kernel = _scratch.PathOf("kernel");
        TickingKernel.Write(kernel);
        return kernel;
    }

    /// <summary>A machine that is saved while it runs.</summary>
    private IReadOnlySet<string> Machine(string saved, params string[] start)
    {
        string api = _scratch.PathOf("api"), disk = _scratch.PathOf("boot.img");
        if (!File.Exists(disk)) _scratch.CreateImage("boot.img", MiB);
        using SystemCallTrace trace = new(_scratch, [], ["boot", "--sandbox=require", .. start, "--disk", disk, "--rng", "--api", api]);
        SnapshotFiles.WaitBeyond(() => trace.Vmm.Lines, 0);
        Ctl(api, "snapshot", saved);
        // It was stopped by the host, and not by its guest.
        return trace.Stop(exitCode: 1);
    }

    private IReadOnlySet<string> Run()
    {
        using SystemCallTrace trace =
            new(_scratch, [], "run", "--disk", _scratch.CreateImage("run.img", MiB), "--rng", "--exec", "lsdev; poweroff");
        return trace.Calls();
    }

    private SystemCallTrace Serve(string[] wrapper, params string[] options)
    {
        SystemCallTrace trace = new(_scratch, wrapper, ["serve", "--sandbox=require", .. UmlGuest.ServeOptions, .. options]);
        trace.Vmm.WaitFor("listening ");
        return trace;
    }

    private void Load(string socket)
    {
        VmmResult load = VmmProcess.Run("bench", "vhost-user-blk", "--socket", _scratch.PathOf(socket), "--rw", "randrw", "--verify", "--seconds", "1");
        Assert.True(load.ExitCode == 0, load.Error + load.Output);
    }

    private static void Ctl(string api, params string[] words)
    {
        VmmResult result = VmmProcess.Run(["ctl", api, .. words]);
        Assert.True(result.ExitCode == 0, result.Error);
    }

    private static void AssertPassed(UmlGuest guest, string test)
    {
        string[] console = guest.WaitForPowerOff();
        Assert.True(console.Contains($"vmm-test {test} passed"), string.Join('\n', console));
    }

    /// <summary>The calls of each command in the page's table.</summary>
    private static Dictionary<string, HashSet<string>> Read(string page)
    {
        string[] rows = [.. page.Split('\n').SkipWhile(line => !line.StartsWith(Begin, StringComparison.Ordinal)).TakeWhile(line => line.StartsWith('|'))];
        string[][] cells = [.. rows.Where((_, i) => i != 1).Select(row => row.Trim('|').Split('|').Select(cell => cell.Trim()).ToArray())];
        return cells[0].Skip(1).Select((command, i) => (command, Calls: cells[1..].Where(row => row[i + 1] == Made).Select(row => row[0]).ToHashSet()))
            .ToDictionary(each => each.command, each => each.Calls);
    }

    /// <summary>What the runtime and the C library do when they have to, whatever the command is: the page's second table.</summary>
    private static IEnumerable<string> OfTheRuntime(string page) => page.Split('\n').SkipWhile(line => line != RuntimeHeading).Skip(1)
        .TakeWhile(line => !line.StartsWith("## ", StringComparison.Ordinal)).Where(line => line.StartsWith("| ", StringComparison.Ordinal))
        .SelectMany(line => line.Split('|')[1].Split(',')).Select(call => call.Trim());

    /// <summary>The page with another table.</summary>
    private static string Write(string page, Dictionary<string, HashSet<string>> listed)
    {
        StringBuilder table = new();
        table.Append($"{Begin} {string.Join(" | ", listed.Keys)} |\n|---|{string.Concat(listed.Keys.Select(_ => "---|"))}");
        foreach (string call in listed.Values.SelectMany(calls => calls).Distinct().Order(StringComparer.Ordinal))
            table.Append($"\n| {call} | {string.Join(" | ", listed.Values.Select(calls => calls.Contains(call) ? Made : ""))} |");
        int at = page.IndexOf(Begin, StringComparison.Ordinal), end = page.IndexOf("\n\n", at, StringComparison.Ordinal);
        return $"{page[..at]}{table}{page[end..]}";
    }
}
