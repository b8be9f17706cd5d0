using System.Diagnostics;
using System.Net;
using System.Net.Sockets;

namespace Vmm.EndToEnd;

/// <summary>
/// A device with a hole (tests/Hole) makes native calls that its guest asks for, each attempt in a process of its own, under each layer
/// of the sandbox. The table is the one of docs/sandbox.md.
/// </summary>
[Trait("Long", "true")]
public sealed class HoleTests : IDisposable
{
    private const int AttemptsMin = 40;

    /// <summary>Devices of one process share its memory: this one is what a process for each is for.</summary>
    private const string OfNeighbours = "read the memory of a neighbour's device";

    private const string Succeeded = "succeeded", Ended = "ends the process";
    private static readonly string[] Layers = ["none", "capabilities", "namespaces", "landlock", "seccomp", "all", "isolate"];

    private readonly ScratchDirectory _scratch = new();
    private readonly Socket _listener = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
    private int _runs;

    public HoleTests()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "what root can do without a sandbox is what is compared with");
        _listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        _listener.Listen();
    }

    public void Dispose()
    {
        _listener.Dispose();
        _scratch.Dispose();
    }

    [Fact]
    public void No_attempt_succeeds_under_all_layers_and_the_page_says_which_stops_it()
    {
        string hole = Publish();
        List<string> rows = [], unproven = [], broken = [];
        foreach (string attempt in Shell.Lines(Shell.Run(hole, "list")))
        {
            string[] ends = [.. Layers.Select(layer => Try(hole, layer, attempt))];
            if (ends[^1] == Succeeded || ends[^2] == Succeeded && attempt != OfNeighbours) broken.Add(attempt);
            // What root cannot do here anyway shows nothing.
            if (ends[0] != Succeeded) unproven.Add(attempt);
            else rows.Add($"| {attempt} | {string.Join(" | ", ends[1..])} |");
        }
        Assert.Empty(broken);
        Assert.True(rows.Count >= AttemptsMin, $"{rows.Count} attempts succeed without a sandbox; unproven: {string.Join(", ", unproven)}");
        string page = File.ReadAllText(Repository.PathOf("docs/sandbox.md"));
        string[] missing = [.. rows.Where(row => !page.Contains(row, StringComparison.Ordinal))];
        Assert.True(missing.Length == 0, $"docs/sandbox.md lacks or says otherwise:\n{string.Join('\n', missing)}");
    }

    private string Try(string hole, string layer, string attempt)
    {
        string directory = _scratch.PathOf($"{_runs++}");
        foreach (string made in (string[])["own", "mountpoint"]) Directory.CreateDirectory(Path.Combine(directory, made));
        foreach (string image in (string[])["own.img", "other.img"]) File.WriteAllBytes(Path.Combine(directory, image), new byte[4096]);
        using Process victim = layer == "isolate" ? Neighbour(hole, directory) : Process.Start("sleep", "1000");
        try
        {
            using Socket service = Listen(Path.Combine(directory, "service")), hidden = Listen($"\0vmm-hole-{victim.Id}");
            string[] command =
            [
                hole, layer, attempt, directory, $"{victim.Id}", $"{WritableMemoryOf(victim)}", $"{((IPEndPoint)_listener.LocalEndPoint!).Port}",
            ];
            // A terminal of its own, whose keys are its input.
            if (attempt.Contains("terminal", StringComparison.Ordinal))
                command = ["script", "-qec", string.Join(' ', command.Select(word => $"'{word}'")), "/dev/null"];
            (int exitCode, string output) = Shell.Try(command);
            Shell.Try("umount", Path.Combine(directory, "mountpoint"));
            const int badSystemCall = 128 + 31;
            if (exitCode == badSystemCall) return Ended;
            Assert.True(exitCode == 0, $"{attempt} under {layer}: {exitCode}: {output}");
            string end = Shell.Lines(output)[^1].Trim();
            int error = end.LastIndexOf("error ", StringComparison.Ordinal);
            return error < 0 ? Succeeded : end[(error + "error ".Length)..] switch
            {
                "1" => "EPERM",
                "2" => "ENOENT",
                "14" => "EFAULT",
                "13" => "EACCES",
                "30" => "EROFS",
                "101" => "ENETUNREACH",
                "111" => "ECONNREFUSED",
                var other => $"error {other}",
            };
        }
        finally
        {
            victim.Kill();
            victim.WaitForExit();
        }
    }

    /// <summary>A process that serves another device in such a sandbox: what --isolate puts beside this one.</summary>
    private static Process Neighbour(string hole, string directory)
    {
        foreach (string made in (string[])["neighbour", "neighbour/own"]) Directory.CreateDirectory(Path.Combine(directory, made));
        File.WriteAllBytes(Path.Combine(directory, "neighbour/own.img"), new byte[4096]);
        Process neighbour = Process.Start(new ProcessStartInfo(hole, ["all", "wait", Path.Combine(directory, "neighbour"), "1", "0", "0"])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        })!;
        Assert.Equal("waits", neighbour.StandardOutput.ReadLine());
        return neighbour;
    }

    private static long WritableMemoryOf(Process victim)
    {
        for (Stopwatch clock = Stopwatch.StartNew(); ; Thread.Sleep(1))
        {
            string[] stack = [.. File.ReadAllLines($"/proc/{victim.Id}/maps").Where(line => line.EndsWith("[stack]", StringComparison.Ordinal))];
            bool isStarted = File.ReadAllText($"/proc/{victim.Id}/cmdline").Split('\0')[0] is "sleep" or [.., '/', 'h', 'o', 'l', 'e'];
            if (isStarted && stack is [var line, ..]) return Convert.ToInt64(line.Split('-', ' ')[1], 16) - 4096;
            Assert.True(clock.Elapsed < TimeSpan.FromMinutes(1), "the victim does not start");
        }
    }

    private static Socket Listen(string path)
    {
        Socket socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Bind(new UnixDomainSocketEndPoint(path));
        socket.Listen();
        return socket;
    }

    private string Publish()
    {
        string project = _scratch.PathOf("hole");
        Directory.CreateDirectory(project);
        foreach (string file in Directory.GetFiles(Repository.PathOf("tests/Hole"), "*.cs")) File.Copy(file, Path.Combine(project, Path.GetFileName(file)));
        return OutsideProject.Publish(project, "hole", "<AllowUnsafeBlocks>true</AllowUnsafeBlocks>");
    }
}
