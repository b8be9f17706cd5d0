using System.Globalization;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;

namespace Vmm.EndToEnd;

/// <summary>The console, the balloon and what goes with them in <c>vmm run</c>, as the host sees them.</summary>
public sealed class MachineDevicesTests
{
    private const int MiB = 1 << 20;

    [Fact]
    public void A_console_is_a_terminal_of_the_host()
    {
        using VmmProcess vmm = new("run", "--console", "pty");
        vmm.Input.Write("console write console hello\nconsole read console\nconsole echo console 65536\n");
        vmm.Input.Flush();
        vmm.WaitFor("terminal console /dev/pts/");
        using FileStream terminal = new(TerminalOf(vmm), FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite, bufferSize: 0);
        Assert.Equal("hello\n", Encoding.ASCII.GetString(Read(terminal, 6)));
        terminal.Write("what the host types\n"u8);
        vmm.WaitFor("console: what the host types");

        byte[] sent = new byte[65536];
        new Random(3).NextBytes(sent);
        Thread writer = new(() => terminal.Write(sent));
        writer.Start();
        Assert.Equal(sent, Read(terminal, sent.Length));
        writer.Join();
        // Only now: a terminal whose other end is closed drops what was not read.
        vmm.Input.WriteLine("poweroff");
        Assert.Equal(0, vmm.WaitForExit().ExitCode);
    }

    [Fact]
    public void Ports_of_a_console_lead_to_a_file_and_a_socket()
    {
        using ScratchDirectory scratch = new();
        string log = scratch.PathOf("log"), socket = scratch.PathOf("s");
        File.WriteAllText(log, "before\n");
        using VmmProcess vmm = new("run", "--console", $"file={log}", "--console", $"uds={socket},name=org.example.agent");
        vmm.Input.Write("console write console to the log\nconsole emergency last words\n");
        vmm.Input.Flush();
        // A guest that writes has all its ports; that the socket's path is there says only that the port was bound, not that it listens.
        Assert.True(SpinWait.SpinUntil(() => File.ReadAllText(log).EndsWith("last words\n", StringComparison.Ordinal), TimeSpan.FromSeconds(30)));
        using Socket agent = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { ReceiveTimeout = 30_000 };
        agent.Connect(new UnixDomainSocketEndPoint(socket));
        agent.Send("ping\n"u8);
        vmm.Input.Write("console read org.example.agent\nconsole write 1 pong\n");
        vmm.Input.Flush();
        byte[] pong = new byte[5];
        for (int have = 0; have < pong.Length;) have += agent.Receive(pong.AsSpan(have));
        Assert.Equal("pong\n", Encoding.ASCII.GetString(pong));
        vmm.Input.WriteLine("poweroff");
        VmmResult result = vmm.WaitForExit();
        Assert.Equal(0, result.ExitCode);
        Assert.Contains("org.example.agent: ping", result.Lines);
        Assert.Equal("before\nto the log\nlast words\n", File.ReadAllText(log));
        Assert.False(File.Exists(socket));
    }

    [Fact]
    public void A_resized_terminal_is_told_to_the_guest()
    {
        // script(1) makes the terminal, whose size changes once it has been seen. The tool's own input is the terminal's: each line typed there has the
        // guest look again, as the way of the news from the kernel to the guest takes as long as it takes.
        const int Looks = 200;
        using ScratchDirectory scratch = new();
        string seen = scratch.PathOf("seen");
        string resize = $"stty cols 101 rows 33; (until [ -e {seen} ]; do sleep 0.1; done; stty cols 77 rows 22 </dev/tty) & ";
        string looks = string.Concat(Enumerable.Repeat("console list; console read 0; ", Looks));
        using VmmProcess vmm = VmmProcess.UnderTerminal(resize, "run", "--console", "terminal", "--exec", $"{looks}poweroff");
        vmm.WaitFor("101 columns, 33 rows");
        File.WriteAllText(seen, "");
        int typed = 0;
        while (typed++ < Looks && !vmm.HasSaid("77 columns, 22 rows"))
        {
            Type("\n");
            Thread.Sleep(50);
        }
        vmm.WaitFor("77 columns, 22 rows");
        Type(new string('\n', Looks));
        vmm.WaitForExit();

        void Type(string text)
        {
            vmm.Input.Write(text);
            vmm.Input.Flush();
        }
    }

    [Fact]
    public void Memory_of_the_host_falls_with_the_balloon()
    {
        using VmmProcess vmm = new("run", "--memory", "512");
        vmm.Input.WriteLine("touch 400");
        vmm.Input.Flush();
        vmm.WaitFor($"{400 * MiB} bytes written");
        long touched = ResidentKiB(vmm.Id);
        Assert.InRange(touched, 400 << 10, 520 << 10);
        vmm.Input.WriteLine("balloon 480");
        vmm.Input.Flush();
        vmm.WaitFor($"{480 * MiB} bytes given up");
        long given = ResidentKiB(vmm.Id);
        Assert.True(given < touched - (370 << 10), $"{touched} KiB before, {given} KiB after");
        vmm.Input.WriteLine("balloon 0; touch 100; balloon report");
        vmm.Input.Flush();
        vmm.WaitFor("bytes reported");
        Assert.InRange(ResidentKiB(vmm.Id), 0, given + (8 << 10));
        vmm.Input.WriteLine("poweroff");
        Assert.Equal(0, vmm.WaitForExit().ExitCode);
    }

    [Fact]
    public void A_target_on_the_command_line_is_what_the_guest_gives_up()
    {
        VmmResult result = VmmProcess.Run("run", "--balloon", "target=64", "--stats", "json", "--exec", "touch 100; poweroff");
        Assert.Equal(0, result.ExitCode);
        using JsonDocument stats = JsonDocument.Parse(result.Lines[^1]);
        JsonElement balloon = Assert.Single(stats.RootElement.GetProperty("balloons").EnumerateArray());
        foreach (string amount in (string[])["target_bytes", "actual_bytes", "returned_bytes"]) Assert.Equal(64 * MiB, balloon.GetProperty(amount).GetInt64());
    }

    [Fact]
    public void A_line_to_the_balloons_socket_takes_memory_of_a_machine_that_runs()
    {
        using ScratchDirectory scratch = new();
        string path = scratch.PathOf("balloon");
        using VmmProcess vmm = new("run", "--memory", "512", "--balloon", $"control={path}");
        vmm.Input.WriteLine("touch 400");
        vmm.Input.Flush();
        vmm.WaitFor($"{400 * MiB} bytes written");
        long touched = ResidentKiB(vmm.Id);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(path));
        using Socket control = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        control.Connect(new UnixDomainSocketEndPoint(path));
        using StreamReader answers = new(new NetworkStream(control));
        control.Send("target 480\n"u8);
        Assert.StartsWith($"ok target_bytes={480 * MiB} ", answers.ReadLine());
        string told = "";
        Assert.True(SpinWait.SpinUntil(() =>
        {
            control.Send("stats\n"u8);
            told = answers.ReadLine()!;
            return told.Contains($" actual_bytes={480 * MiB} ", StringComparison.Ordinal);
        }, TimeSpan.FromSeconds(60)), told);
        Assert.Contains(" total_bytes=", told, StringComparison.Ordinal);
        Assert.True(ResidentKiB(vmm.Id) < touched - (370 << 10), $"{touched} KiB before, {ResidentKiB(vmm.Id)} KiB after");
        vmm.Input.WriteLine("poweroff");
        Assert.Equal(0, vmm.WaitForExit().ExitCode);
        Assert.False(File.Exists(path));
    }

    [Fact]
    public void A_trim_frees_blocks_of_the_host()
    {
        using ScratchDirectory scratch = new();
        string image = scratch.CreateImage("disk.img", 16 * MiB);
        long before = BlocksOf(image);
        Assert.Equal(0, VmmProcess.Run("run", "--disk", image, "--exec", "trim vda 4M 8M; flush vda; poweroff").ExitCode);
        Assert.Equal(8 * MiB, before - BlocksOf(image));
    }

    [Theory]
    [InlineData("ring")]
    [InlineData("synchronous")]
    public void A_disk_past_the_page_cache_is_the_same_disk(string engine)
    {
        using ScratchDirectory scratch = new();
        string image = scratch.CreateImage("disk.img", 16 * MiB);
        VmmResult read = VmmProcess.Run("run", "--disk", $"{image},ro,direct", "--engine", engine, "--exec", "sha256 vda; poweroff");
        Assert.Contains($"sha256 vda {ScratchDirectory.Sha256(image)}", read.Lines);
        VmmResult written = VmmProcess.Run("run", "--disk", $"{image},direct", "--engine", engine, "--vcpus", "2", "--exec", "fill vda 3; verify vda 3; write vda 700 abcd; sha256 vda; poweroff");
        Assert.Equal(0, written.ExitCode);
        Assert.Contains($"sha256 vda {ScratchDirectory.Sha256(image)}", written.Lines);
    }

    [Fact]
    public void An_idle_machine_with_every_device_never_wakes_up()
    {
        using ScratchDirectory scratch = new();
        using VmmProcess vmm = new("run", "--console", "pty", "--console", $"uds={scratch.PathOf("agent")}", "--balloon", "target=16",
            "--net", $"socket={scratch.PathOf("net")}", "--vsock", $"cid=3,uds={scratch.PathOf("vsock")}");
        vmm.Input.WriteLine("lsdev");
        vmm.Input.Flush();
        vmm.WaitFor("vsock0:");
        // What it was told first, the balloon's target above all, takes as long as it takes.
        int looks = 0;
        while (!IsQuietFor(1000)) Assert.True(++looks < 60, "it never comes to rest");
        Assert.True(IsQuietFor(3000));
        vmm.Input.WriteLine("poweroff");
        Assert.Equal(0, vmm.WaitForExit().ExitCode);

        bool IsQuietFor(int milliseconds)
        {
            long before = Sleeps();
            Thread.Sleep(milliseconds);
            return Sleeps() == before;
        }

        long Sleeps() => VmmProcess.Sleeps(vmm.Id, "devices0") + VmmProcess.Sleeps(vmm.Id, "vcpu0");
    }

    private static string TerminalOf(VmmProcess vmm) =>
        vmm.Lines.Single(line => line.StartsWith("terminal ", StringComparison.Ordinal)).Split(' ')[^1];

    private static byte[] Read(FileStream terminal, int length)
    {
        byte[] bytes = new byte[length];
        terminal.ReadExactly(bytes);
        return bytes;
    }

    /// <summary>What of guest memory takes memory of the host: shared pages of the process (proc(5)).</summary>
    private static long ResidentKiB(int process) => long.Parse(
        File.ReadLines($"/proc/{process}/status").Single(line => line.StartsWith("RssShmem:", StringComparison.Ordinal))
            .Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture);

    /// <summary>Bytes of the disk that a file takes: stat(1), blocks of 512.</summary>
    private static long BlocksOf(string path)
    {
        using System.Diagnostics.Process stat = System.Diagnostics.Process.Start(new System.Diagnostics.ProcessStartInfo("stat", ["-c", "%b", path]) { RedirectStandardOutput = true })!;
        return long.Parse(stat.StandardOutput.ReadToEnd(), CultureInfo.InvariantCulture) * 512;
    }
}
