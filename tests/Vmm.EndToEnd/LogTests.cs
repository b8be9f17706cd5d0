using System.IO.Pipes;
using System.Text.Json;
using Microsoft.Extensions.Logging;
using Vmm.Devices;
using Vmm.Events;
using Vmm.Tool;

namespace Vmm.EndToEnd;

/// <summary>What is said on standard error: in sentences, for the journal, and as JSON.</summary>
public sealed class LogTests : IDisposable
{
    /// <summary>Runs the tool with a name for the journal's stream, which a shell prints, and without a journal that takes fields.</summary>
    private static string[] JournalIs(string stream)
    {
        bool isThere = File.Exists("/run/systemd/journal/socket");
        string hide = isThere ? "mount -t tmpfs tmpfs /run/systemd/journal; " : "";
        string[] shell = ["sh", "-c", $"{hide}JOURNAL_STREAM=$({stream}) exec \"$@\"", "sh"];
        return isThere ? ["unshare", "-m", .. shell] : shell;
    }

    private readonly ScratchDirectory _scratch = new();

    private string Socket => _scratch.PathOf("a.sock");

    [Theory]
    [InlineData("as an option")]
    [InlineData("in a file")]
    public void Each_line_is_an_object(string how)
    {
        string config = _scratch.PathOf("vmm.toml");
        File.WriteAllText(config, $"command = \"serve\"\nlog = \"json\"\n[[blk]]\npath = \"null:1M\"\nsocket = \"{Socket}\"\n");
        using VmmProcess vmm = how == "in a file" ? new("start", config) : new("serve", "--log", "json", "--blk", $"path=null:1M,socket={Socket}");
        JsonElement[] lines = Serve(vmm);
        JsonElement connected = Assert.Single(lines, line => Text(line, "event") == "front-end-connected");
        Assert.Equal(("information", "blk0"), (Text(connected, "level"), Text(connected, "device")));
        Assert.Equal("Vmm.Devices.VhostUser.VhostUserServer", Text(connected, "category"));
        Assert.StartsWith("blk0: a front-end is connected: process ", Text(connected, "message"));
        Assert.InRange(connected.GetProperty("time").GetDateTimeOffset(), DateTimeOffset.UtcNow.AddHours(-1), DateTimeOffset.UtcNow);
        JsonElement statistics = Assert.Single(lines, line => Text(line, "message")!.StartsWith("blk0: front-ends 1, ", StringComparison.Ordinal));
        Assert.Equal(("blk0", "vmm"), (Text(statistics, "device"), Text(statistics, "category")));
        Assert.Equal("warning", Text(Assert.Single(lines, line => Text(line, "message")!.StartsWith("SIGHUP", StringComparison.Ordinal)), "level"));
    }

    [Fact]
    public void A_machine_says_so_too_and_why_it_ended()
    {
        using VmmProcess vmm = new("run", "--log", "json");
        vmm.WaitFor("made a 64 MiB scratch image");
        vmm.Signal("TERM");
        VmmResult result = vmm.WaitForExit();
        Assert.Equal(1, result.ExitCode);
        JsonElement last = Parse(result.Error)[^1];
        Assert.Equal("error", Text(last, "level"));
        Assert.StartsWith("stopped by SIGTERM", Text(last, "message"));
    }

    [Theory]
    [InlineData(2, "nothing to serve", "serve", "--log", "json")]
    [InlineData(1, "cannot listen on", "serve", "--log", "json", "--rng", "socket=/no-such-directory/a.sock")]
    [InlineData(1, "no-such-disk", "run", "--log", "json", "--disk", "/no-such-disk", "--exec", "poweroff")]
    // Where there is no KVM it is that which is missed.
    [InlineData(1, "'/", "boot", "--log", "json", "--kernel", "/no-such-kernel")]
    public void What_is_refused_is_an_object_too(int exitCode, string words, params string[] arguments)
    {
        VmmResult result = VmmProcess.Run(arguments);
        Assert.Equal(exitCode, result.ExitCode);
        JsonElement last = Parse(result.Error)[^1];
        Assert.Equal("error", Text(last, "level"));
        Assert.Contains(words, Text(last, "message"));
    }

    [Fact]
    public void The_journal_gets_priorities()
    {
        using VmmProcess vmm = new(JournalIs("stat -L -c %d:%i /dev/stderr"), ["serve", "--blk", $"path=null:1M,socket={Socket}"]);
        string[] lines = ServeAndRead(vmm);
        Assert.All(lines, line => Assert.Matches("^<[3-7]>vmm: ", line));
        Assert.Contains(lines, line => line.StartsWith("<6>vmm: blk0: a front-end is connected", StringComparison.Ordinal));
        Assert.Contains(lines, line => line.StartsWith("<4>vmm: SIGHUP changes nothing", StringComparison.Ordinal));
    }

    [Fact]
    public void What_ends_a_service_is_an_error_in_the_journal()
    {
        using VmmProcess vmm =
            new(JournalIs("stat -L -c %d:%i /dev/stderr"), ["serve", "--sandbox", "off", "--rng", "socket=/no-such-directory/a.sock"]);
        VmmResult result = vmm.WaitForExit();
        Assert.Equal(1, result.ExitCode);
        Assert.StartsWith("<3>vmm: cannot listen on", result.Error);
    }

    [Theory]
    [InlineData("stat -L -c %d:%i /dev/null")]
    [InlineData("stat -L -c 0:%i /dev/stderr")]
    [InlineData("echo no stream at all")]
    public void Another_stream_than_the_journal_gets_sentences_alone(string stream)
    {
        using VmmProcess vmm = new(JournalIs(stream), ["serve", "--blk", $"path=null:1M,socket={Socket}"]);
        Assert.All(ServeAndRead(vmm), line => Assert.StartsWith("vmm: ", line));
    }

    [Fact]
    public void JSON_is_JSON_in_the_journal_too()
    {
        using VmmProcess vmm =
            new(JournalIs("stat -L -c %d:%i /dev/stderr"), ["serve", "--log", "json", "--blk", $"path=null:1M,socket={Socket}"]);
        Assert.Contains(Serve(vmm), line => Text(line, "event") == "front-end-left");
    }

    [Fact]
    public void What_a_guest_wrote_neither_ends_a_line_nor_moves_a_cursor()
    {
        const string Hostile = "a\n\r<0>vmm: \"all\" is\0well\u001b[2J\u009b1A\u2028\ud800'";
        LogEntry entry = new(LogLevel.Warning, Hostile) { Device = Hostile, Exception = Hostile };
        string line = LogFormat.Json(entry);
        Assert.DoesNotContain(line, char.IsControl);
        Assert.DoesNotContain('\u2028', line);
        JsonElement read = JsonDocument.Parse(line).RootElement;
        // A half of a character cannot be written.
        foreach (string field in (string[])["device", "message", "exception"]) Assert.Equal(Hostile.Replace('\ud800', '\ufffd'), Text(read, field));
        Assert.All(LogFormat.Journal(entry).Split('\n'), part => Assert.StartsWith("<4>", part));
    }

    [Fact]
    public void What_a_library_prints_is_taken_line_by_line()
    {
        List<string> said = [];
        using LinesOfOthers writer = new(said.Add);
        writer.WriteLine("one");
        writer.Write("tw");
        Assert.Equal(["one"], said);
        writer.Write("o\nthree\nfour");
        Assert.Equal(["one", "two", "three"], said);
    }

    [Fact]
    public void Ten_lines_a_second_that_say_the_same_are_one_and_their_number()
    {
        List<string> lines = [];
        ManualClock clock = new();
        RepeatedEntries log = new(entry => lines.Add(entry.Message), clock);
        void Say(string sentence) => log.Add(new LogEntry(LogLevel.Warning, sentence) { Time = clock.GetUtcNow() });
        for (int i = 0; i < 10; i++)
        {
            Say("no descriptor is left");
            clock.Advance(TimeSpan.FromMilliseconds(90));
        }
        Assert.Equal(["no descriptor is left"], lines);
        clock.Advance(TimeSpan.FromMilliseconds(200));
        Say("no descriptor is left");
        Assert.Equal(["no descriptor is left", "the line before came 9 more times", "no descriptor is left"], lines);
        Say("another line");
        Assert.Equal("another line", lines[^1]);
        Assert.Equal(4, lines.Count);
    }

    [Fact]
    public void An_output_that_is_not_read_holds_no_thread_and_a_line_says_what_is_missing()
    {
        const int Lines = 400;
        using AnonymousPipeServerStream pipe = new(PipeDirection.In);
        OwnedFd writer = new((int)pipe.ClientSafePipeHandle.DangerousGetHandle());
        PatientOutput output = new(SerialOutput.To(writer.Duplicate()), dropped => $"{dropped} are missing");
        writer.SetHandleAsInvalid();
        string line = new('x', 1000);
        for (int i = 0; i < Lines; i++) output.WriteLine(line);
        Assert.False(output.Flush(TimeSpan.Zero));
        using StreamReader reader = new(pipe);
        int kept = 0;
        string? read;
        while ((read = reader.ReadLine()) == line) kept++;
        Assert.Equal($"{Lines - kept} are missing", read);
        Assert.InRange(kept, PatientOutput.WaitingBytesMax / (line.Length + 1), Lines - 1);
        Assert.True(output.Flush(TimeSpan.FromMinutes(1)));
        output.WriteLine("the last");
        Assert.Equal("the last", reader.ReadLine());
    }

    /// <summary>Standard error as a service manager hands it over: a blocking stream socket, or a pipe, whose reader stands still.</summary>
    [Theory]
    [InlineData("socketpair($ours, $reader, AF_UNIX, SOCK_STREAM, 0); 1 while defined send($ours, 'x' x 4096, MSG_DONTWAIT); 1 while defined send($ours, 'x', MSG_DONTWAIT);")]
    [InlineData("pipe($reader, $ours); fcntl($ours, F_SETFL, O_NONBLOCK); 1 while defined syswrite($ours, 'x' x 4096); fcntl($ours, F_SETFL, 0);")]
    public void A_server_whose_log_is_not_read_serves_and_ends(string fill)
    {
        string mayRead = _scratch.PathOf("may-read");
        // A child is the reader: it copies the log to standard output when it may.
        string perl = $$"""
            $^F = 255;
            {{fill}}
            if (!fork) {
                close $ours; close STDERR; $| = 1;
                select undef, undef, undef, .01 until -e '{{mayRead}}';
                print while <$reader>;
                exit;
            }
            close $reader; open STDERR, '>&', $ours; close $ours; exec @ARGV;
            """;
        using VmmProcess vmm = new(["perl", "-MSocket", "-MFcntl", "-e", perl], ["serve", "--blk", $"path=null:1M,socket={Socket}"]);
        vmm.WaitFor($"listening blk {Socket}");
        // Each front-end that comes and goes is a line of the log; so is each request for statistics.
        for (int i = 0; i < 3; i++) Assert.Equal(0, VmmProcess.Run("bench", "vhost-user-blk", "--socket", Socket, "--seconds", "1").ExitCode);
        File.WriteAllText(mayRead, "");
        vmm.WaitFor("the front-end left");
        vmm.Signal("TERM");
        Assert.Equal(0, vmm.WaitForExit().ExitCode);
    }

    public void Dispose() => _scratch.Dispose();

    private JsonElement[] Serve(VmmProcess vmm) => [.. ServeAndRead(vmm).Select(line => JsonDocument.Parse(line).RootElement)];

    /// <summary>Has a server say something of each kind.</summary>
    /// <returns>The lines of standard error.</returns>
    private string[] ServeAndRead(VmmProcess vmm)
    {
        vmm.WaitFor($"listening blk {Socket}");
        Assert.Equal(0, VmmProcess.Run("bench", "vhost-user-blk", "--socket", Socket, "--seconds", "1").ExitCode);
        vmm.WaitFor("the front-end left");
        vmm.Signal("USR1");
        vmm.WaitFor("front-ends 1");
        vmm.Signal("HUP");
        vmm.WaitFor("SIGHUP");
        vmm.Signal("TERM");
        VmmResult result = vmm.WaitForExit();
        Assert.Equal(0, result.ExitCode);
        return result.Error.Split('\n', StringSplitOptions.RemoveEmptyEntries);
    }

    private static JsonElement[] Parse(string lines) =>
        [.. lines.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => JsonDocument.Parse(line).RootElement)];

    private static string? Text(JsonElement line, string field) => line.TryGetProperty(field, out JsonElement value) ? value.GetString() : null;
}
