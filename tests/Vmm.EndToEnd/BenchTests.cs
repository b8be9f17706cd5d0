using System.Text.Json;

namespace Vmm.EndToEnd;

/// <summary><c>vmm bench vhost-user-blk</c>: what it prints and writes. What it measures is not asserted: that is the machine's business.</summary>
public sealed class BenchTests
{
    private const long MiB = 1 << 20;

    [Fact]
    public void Two_back_ends_are_loaded_verified_and_compared()
    {
        using ScratchDirectory scratch = new();
        string json = scratch.PathOf("figures.json");
        string a = scratch.PathOf("a.sock"), b = scratch.PathOf("b.sock");
        using VmmProcess vmm = new("serve", "--reactors", "2",
            "--blk", $"path={scratch.CreateImage("a.img", 16 * MiB)},socket={a},queues=2", "--blk", $"path={scratch.CreateImage("b.img", 16 * MiB)},socket={b},queues=2");
        vmm.WaitFor($"listening blk {b}");
        VmmResult result = VmmProcess.Run("bench", "vhost-user-blk", "--socket", a, "--vs", b, "--queues", "2", "--depth", "8", "--rw", "randrw",
            "--seconds", "1", "--verify", "--json", json);
        Assert.True(result.ExitCode == 0, result.Error + result.Output);
        Assert.Contains("latency of b", result.Output);

        using JsonDocument figures = JsonDocument.Parse(File.ReadAllText(json));
        foreach (string side in new[] { "a", "b" })
        {
            JsonElement one = figures.RootElement.GetProperty(side);
            Assert.True(one.GetProperty("operationsPerSecond").GetDouble() > 0);
            Assert.True(one.GetProperty("p99Microseconds").GetDouble() >= one.GetProperty("p50Microseconds").GetDouble());
            Assert.Equal(0, one.GetProperty("errors").GetInt64());
            Assert.Equal(2, one.GetProperty("queueShares").GetArrayLength());
        }
        Assert.True(figures.RootElement.GetProperty("ratio").GetDouble() > 0);
    }

    [Fact]
    public void What_can_not_be_written_is_refused_before_the_load()
    {
        using ScratchDirectory scratch = new();
        string socket = scratch.PathOf("s"), kept = scratch.PathOf("kept.json");
        File.WriteAllText(kept, "old");
        using VmmProcess vmm = new("serve", "--blk", $"path={scratch.CreateImage("d", MiB)},ro,socket={socket}");
        vmm.WaitFor("listening");
        VmmResult readOnly = VmmProcess.Run("bench", "vhost-user-blk", "--socket", socket, "--rw", "randwrite", "--json", kept);
        Assert.Equal(2, readOnly.ExitCode);
        Assert.Contains("is read-only: give --rw randread or --rw read", readOnly.Error);
        Assert.Equal("old", File.ReadAllText(kept));
        VmmResult output = VmmProcess.Run("bench", "vhost-user-blk", "--socket", socket, "--json", scratch.PathOf("no/such/folder"));
        Assert.Equal(2, output.ExitCode);
        Assert.Contains("Name a file in a directory that can be written", output.Error);
        Assert.DoesNotContain("op/s", output.Output);
    }

    [Fact]
    public void A_load_that_is_interrupted_prints_what_was_measured()
    {
        using ScratchDirectory scratch = new();
        string socket = scratch.PathOf("s");
        using VmmProcess vmm = new("serve", "--blk", $"path={scratch.CreateImage("d", MiB)},socket={socket}");
        vmm.WaitFor("listening");
        using VmmProcess load = StartLoad(socket);
        load.Signal("INT");
        VmmResult result = load.WaitForExit();
        Assert.Equal(130, result.ExitCode);
        Assert.Contains($"latency of a, {socket}", result.Output);
    }

    [Theory]
    [InlineData("KILL")]
    [InlineData("TERM")]
    public void A_back_end_that_ends_is_named(string signal)
    {
        using ScratchDirectory scratch = new();
        string socket = scratch.PathOf("s");
        using VmmProcess vmm = new("serve", "--blk", $"path={scratch.CreateImage("d", MiB)},socket={socket}");
        vmm.WaitFor("listening");
        using VmmProcess load = StartLoad(socket);
        vmm.Signal(signal);
        VmmResult result = load.WaitForExit();
        Assert.Equal(1, result.ExitCode);
        Assert.Contains($"the back-end at '{socket}' hung up during the load", result.Error);
    }

    /// <summary>Starts a load, and waits until its rings run.</summary>
    private static VmmProcess StartLoad(string socket)
    {
        VmmProcess load = new("bench", "vhost-user-blk", "--socket", socket, "--depth", "4", "--seconds", "60");
        Assert.True(SpinWait.SpinUntil(() => Directory.GetDirectories($"/proc/{load.Id}/task")
            .Any(task => File.ReadAllText(Path.Combine(task, "comm")).Trim() == "load0"), TimeSpan.FromSeconds(60)));
        Thread.Sleep(500);
        return load;
    }

    [Fact]
    public void A_load_the_disk_is_too_small_for_and_a_back_end_that_is_not_there_are_sentences()
    {
        using ScratchDirectory scratch = new();
        string socket = scratch.PathOf("s");
        VmmResult absent = VmmProcess.Run("bench", "vhost-user-blk", "--socket", socket);
        Assert.Equal(1, absent.ExitCode);
        Assert.Contains($"cannot connect to '{socket}'", absent.Error);

        using VmmProcess vmm = new("serve", "--blk", $"path={scratch.CreateImage("tiny.img", 64 * 1024)},socket={socket}");
        vmm.WaitFor("listening");
        VmmResult small = VmmProcess.Run("bench", "vhost-user-blk", "--socket", socket);
        Assert.Equal(1, small.ExitCode);
        Assert.Contains("too small", small.Error);
    }
}
