using System.Text.Json;
using Microsoft.Extensions.Logging;
using Vmm.Tool;

namespace Vmm.EndToEnd;

/// <summary>What is said on standard error: in sentences, for the journal, and as JSON.</summary>
public sealed class LogTests : IDisposable
{
    /// <summary>Runs the tool with a name for the journal's stream, which a shell prints.</summary>
    private static string[] JournalIs(string stream) => ["sh", "-c", $"JOURNAL_STREAM=$({stream}) exec \"$@\"", "sh"];

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
