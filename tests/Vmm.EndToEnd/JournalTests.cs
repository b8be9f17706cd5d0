using System.Text.Json;

namespace Vmm.EndToEnd;

/// <summary>The tool as a service of systemd's own journal, which keeps what it says as fields.</summary>
public sealed class JournalTests : IDisposable
{
    /// <summary>A journal of its own: it finds its sockets below /run, which nothing else sees here.</summary>
    private const string Script = """
        set -e
        mount -t tmpfs tmpfs /run
        mkdir -p /run/log/journal /run/systemd
        /lib/systemd/systemd-journald 2>/dev/null &
        journal=$!
        # It has the output of this script, whose end is waited for.
        trap 'kill $journal $vmm 2>/dev/null || true' EXIT
        until [ -S /run/systemd/journal/socket ]; do sleep 0.1; done
        : >"$DIR/err"
        JOURNAL_STREAM=$(stat -c %d:%i "$DIR/err") "$@" serve --blk "path=null:1M,socket=$DIR/a.sock" 2>"$DIR/err" &
        vmm=$!
        until [ -S "$DIR/a.sock" ]; do kill -0 $vmm; sleep 0.1; done
        "$@" bench vhost-user-blk --socket "$DIR/a.sock" --seconds 1 >"$DIR/bench"
        kill -USR1 $vmm
        until journalctl --directory=/run/log/journal -o json SYSLOG_IDENTIFIER=vmm | grep -q 'front-ends 1, '; do sleep 0.1; done
        kill -TERM $vmm
        wait $vmm
        journalctl --directory=/run/log/journal -o json SYSLOG_IDENTIFIER=vmm >"$DIR/journal"
        """;

    private readonly ScratchDirectory _scratch = new();

    [Fact]
    public void What_happened_to_which_device_is_a_field_of_the_journals_entry()
    {
        Shell.Run(["timeout", "120", "unshare", "-m", "env", $"DIR={_scratch.PathOf("")}", "sh", "-c", Script, "sh", .. VmmTool.Command]);
        JsonElement[] entries = [.. File.ReadLines(_scratch.PathOf("journal")).Select(line => JsonDocument.Parse(line).RootElement)];
        JsonElement connected = Assert.Single(entries, entry => Field(entry, "VMM_EVENT") == "front-end-connected");
        Assert.Equal(("blk0", "6", "journal"), (Field(connected, "VMM_DEVICE"), Field(connected, "PRIORITY"), Field(connected, "_TRANSPORT")));
        Assert.StartsWith("blk0: a front-end is connected: process ", Field(connected, "MESSAGE"));
        Assert.Equal("Vmm.Devices.VhostUser.VhostUserServer", Field(connected, "VMM_CATEGORY"));
        JsonElement statistics = Assert.Single(entries, entry => Field(entry, "MESSAGE")!.Contains("front-ends 1, ", StringComparison.Ordinal));
        Assert.Equal(("vmm", "blk0"), (Field(statistics, "VMM_CATEGORY"), Field(statistics, "VMM_DEVICE")));
        Assert.Equal("", File.ReadAllText(_scratch.PathOf("err")));
    }

    public void Dispose() => _scratch.Dispose();

    private static string? Field(JsonElement entry, string name) => entry.TryGetProperty(name, out JsonElement value) ? value.GetString() : null;
}
