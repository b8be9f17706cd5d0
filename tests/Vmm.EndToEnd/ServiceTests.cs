using System.Net.Sockets;
using System.Text;
using System.Text.RegularExpressions;

namespace Vmm.EndToEnd;

/// <summary>The tool as a service of systemd: its units, its sockets, and what it reports.</summary>
public sealed partial class ServiceTests
{
    private const long MiB = 1 << 20;
    private const string Units = "tools/packaging/systemd";

    [Fact]
    public void Systemd_has_nothing_to_say_about_the_units()
    {
        using ScratchDirectory scratch = new();
        foreach (string unit in Directory.GetFiles(Repository.PathOf(Units)))
        {
            // What is not installed yet is no command: one that is there stands for it.
            File.WriteAllText(scratch.PathOf(Path.GetFileName(unit)), File.ReadAllText(unit).Replace("/usr/bin/vmm", "/bin/true"));
        }
        string[] instances = [scratch.PathOf("vmm-blk@vda.socket"), scratch.PathOf("vmm-blk@vda.service"), scratch.PathOf("vmm@one.service")];
        Assert.Equal("", Shell.Run(["systemd-analyze", "verify", "--man=no", .. instances]));
    }

    [Theory]
    [InlineData("vmm-blk@.service", 15)]
    [InlineData("vmm@.service", 30)]
    public void A_unit_gives_away_what_the_service_does_not_need(string unit, int tenthsMax)
    {
        (int exitCode, string output) =
            Shell.Try("systemd-analyze", "security", "--no-pager", "--offline=yes", $"--threshold={tenthsMax}", Repository.PathOf($"{Units}/{unit}"));
        Assert.True(exitCode == 0, output);
        Assert.Contains("Overall exposure level", output);
    }

    [Theory]
    [InlineData("vmm-blk@.service")]
    [InlineData("vmm@.service")]
    public void A_unit_refuses_to_run_without_a_sandbox_and_lets_it_be_laid(string unit)
    {
        string text = File.ReadAllText(Repository.PathOf($"{Units}/{unit}"));
        Assert.Contains("--sandbox=require", text);
        HashSet<string> allowed = CallsOf(text);
        Assert.DoesNotContain("ptrace", allowed);
        Assert.DoesNotContain("mount", allowed);
        using ScratchDirectory scratch = new();
        string image = scratch.CreateImage("disk.img", 16 * MiB), socket = scratch.PathOf("s"), trace = scratch.PathOf("trace");
        using VmmProcess vmm = new(["setpriv", "--bounding-set=-all", "strace", "-f", "-qq", "-o", trace],
            ["serve", "--sandbox=require", "--blk", $"path={image},socket={socket}"]);
        vmm.WaitFor("listening blk");
        VmmResult load = VmmProcess.Run("bench", "vhost-user-blk", "--socket", socket, "--rw", "randrw", "--verify", "--seconds", "1");
        Assert.True(load.ExitCode == 0, load.Error);
        Shell.Run("kill", "-TERM", File.ReadAllText($"/proc/{vmm.Id}/task/{vmm.Id}/children").Trim());
        vmm.WaitForExit();
        string[] made = [.. File.ReadLines(trace).Select(line => CallIn().Match(line)).Where(call => call.Success).Select(call => call.Groups[1].Value).Distinct().Order()];
        Assert.Contains("landlock_restrict_self", made);
        Assert.Contains("seccomp", made);
        // Tried, and done without: a unit has no capability, and namespaces of its own.
        Assert.Empty(made.Except(allowed).Except(["capset", "unshare", "setfsuid", "setfsgid"]));
    }

    /// <summary>The calls that the lines of a unit leave, one after the other, with the sets of this system (systemd.exec(5)).</summary>
    private static HashSet<string> CallsOf(string unit)
    {
        HashSet<string> calls = [.. Expand("@default")];
        foreach (string line in unit.Split('\n').Where(line => line.StartsWith("SystemCallFilter=", StringComparison.Ordinal)))
        {
            string value = line[(line.IndexOf('=') + 1)..];
            string[] named = [.. value.TrimStart('~').Split(' ').SelectMany(Expand)];
            if (value.StartsWith('~')) calls.ExceptWith(named);
            else calls.UnionWith(named);
        }
        return calls;

        static IEnumerable<string> Expand(string name) => name[0] != '@' ? [name]
            : Shell.Lines(Shell.Run("systemd-analyze", "--no-pager", "syscall-filter", name)).Where(line => line.StartsWith("    ", StringComparison.Ordinal))
                .Select(line => line.Trim()).Where(word => !word.StartsWith('#')).SelectMany(Expand);
    }

    [GeneratedRegex(@"^\d+ +([a-z_0-9]+)\(")]
    private static partial Regex CallIn();

    [Fact]
    public void A_guest_may_connect_before_the_server_runs()
    {
        using ScratchDirectory scratch = new();
        string socket = scratch.PathOf("vda.sock"), image = scratch.CreateImage("disk.img", 16 * MiB);
        // The wrapper listens, and starts the tool when something connects.
        using VmmProcess vmm = new(["systemd-socket-activate", "-l", socket], ["serve", "--blk", $"path={image},socket={socket}"]);
        vmm.WaitFor("Listening on");
        Assert.False(vmm.HasSaid("listening blk"));
        VmmResult load = VmmProcess.Run("bench", "vhost-user-blk", "--socket", socket, "--rw", "randrw", "--verify", "--seconds", "1");
        Assert.True(load.ExitCode == 0, load.Error);
        vmm.WaitFor($"listening blk {socket}");
        vmm.Signal("TERM");
        Assert.Equal(0, vmm.WaitForExit().ExitCode);
        // The path is the service manager's, which goes on to listen there.
        Assert.True(File.Exists(socket));
    }

    [Fact]
    public void A_socket_that_no_device_names_is_refused_in_a_sentence()
    {
        using ScratchDirectory scratch = new();
        string socket = scratch.PathOf("other.sock");
        using VmmProcess vmm = new(["systemd-socket-activate", "-l", socket], ["serve", "--rng", $"socket={scratch.PathOf("mine.sock")}"]);
        vmm.WaitFor("Listening on");
        using Socket guest = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        guest.Connect(new UnixDomainSocketEndPoint(socket));
        vmm.WaitFor($"no device names it: give a device 'socket={socket}'");
        Assert.Equal(2, vmm.WaitForExit().ExitCode);
        Assert.False(File.Exists(scratch.PathOf("mine.sock")));
    }

    [Fact]
    public void Sockets_meant_for_another_process_are_not_touched()
    {
        using ScratchDirectory scratch = new();
        string socket = scratch.PathOf("vda.sock");
        using VmmProcess vmm = new(["env", "LISTEN_PID=1", "LISTEN_FDS=1"], ["serve", "--rng", $"socket={socket}"]);
        vmm.WaitFor("listening rng");
        vmm.Signal("TERM");
        Assert.Equal(0, vmm.WaitForExit().ExitCode);
        Assert.False(File.Exists(socket));
    }

    [Fact]
    public void The_watchdog_is_fed_a_reload_is_answered_and_the_end_is_reported()
    {
        using ScratchDirectory scratch = new();
        using Socket manager = new(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified) { ReceiveTimeout = 60_000 };
        manager.Bind(new UnixDomainSocketEndPoint(scratch.PathOf("notify")));
        using VmmProcess vmm = new(["env", $"NOTIFY_SOCKET={scratch.PathOf("notify")}", "WATCHDOG_USEC=100000"],
            ["serve", "--reactors", "2", "--rng", $"socket={scratch.PathOf("rng.sock")}"]);
        Assert.StartsWith("READY=1", Next(manager));
        for (int i = 0; i < 3; i++) Assert.Equal("WATCHDOG=1", Next(manager));
        vmm.Signal("HUP");
        Assert.StartsWith("RELOADING=1\nMONOTONIC_USEC=", NextBut(manager, "WATCHDOG=1"));
        Assert.StartsWith("READY=1", NextBut(manager, "WATCHDOG=1"));
        Assert.Equal("WATCHDOG=1", Next(manager));
        vmm.Signal("TERM");
        Assert.Equal("STOPPING=1", NextBut(manager, "WATCHDOG=1"));
        Assert.Equal(0, vmm.WaitForExit().ExitCode);
    }

    [Theory]
    [InlineData("vmm-blk@.service")]
    [InlineData("vmm@.service")]
    public void A_unit_waits_for_what_the_tool_reports(string unit)
    {
        string[] lines = File.ReadAllLines(Repository.PathOf($"{Units}/{unit}"));
        Assert.Contains("Type=notify", lines);
        Assert.Contains("NotifyAccess=main", lines);
        Assert.Contains(lines, line => line.StartsWith("WatchdogSec=", StringComparison.Ordinal));
    }

    [Fact]
    public void A_machine_reports_its_start_feeds_the_watchdog_and_reports_its_end()
    {
        using ScratchDirectory scratch = new();
        using Socket manager = new(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified) { ReceiveTimeout = 60_000 };
        manager.Bind(new UnixDomainSocketEndPoint(scratch.PathOf("notify")));
        using VmmProcess vmm = new(["env", $"NOTIFY_SOCKET={scratch.PathOf("notify")}", "WATCHDOG_USEC=100000"], ["run"]);
        Assert.StartsWith("READY=1", Next(manager));
        for (int i = 0; i < 3; i++) Assert.Equal("WATCHDOG=1", Next(manager));
        vmm.Signal("TERM");
        Assert.Equal("STOPPING=1", NextBut(manager, "WATCHDOG=1"));
        Assert.Equal(1, vmm.WaitForExit().ExitCode);
    }

    [Fact]
    public void A_hang_up_of_a_terminal_does_not_end_a_service_without_a_manager()
    {
        using ScratchDirectory scratch = new();
        using VmmProcess vmm = new("serve", "--rng", $"socket={scratch.PathOf("rng.sock")}");
        vmm.WaitFor("listening rng");
        vmm.Signal("HUP");
        vmm.WaitFor("SIGHUP changes nothing");
        vmm.Signal("TERM");
        Assert.Equal(0, vmm.WaitForExit().ExitCode);
        Assert.False(File.Exists(scratch.PathOf("rng.sock")));
    }

    private static string Next(Socket manager)
    {
        byte[] message = new byte[256];
        return Encoding.UTF8.GetString(message, 0, manager.Receive(message));
    }

    private static string NextBut(Socket manager, string other)
    {
        string message;
        do message = Next(manager);
        while (message == other);
        return message;
    }
}
