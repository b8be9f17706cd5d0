using System.Text.Json;

namespace Vmm.EndToEnd;

/// <summary><c>vmm run</c> against real image files, checked from the host's side.</summary>
public sealed class RunTests
{
    private const long MiB = 1 << 20;

    [Theory]
    [InlineData(1, 1)]
    [InlineData(1, 4)]
    [InlineData(64, 1)]
    [InlineData(64, 4)]
    [InlineData(2048, 1)]
    [InlineData(2048, 4)]
    public void The_guest_reads_what_the_host_wrote(int mebibytes, int vcpus)
    {
        using ScratchDirectory scratch = new();
        string image = scratch.CreateImage("disk.img", mebibytes * MiB, sparse: mebibytes > 64);
        VmmResult result = Run(image, "sha256 vda; poweroff", "--vcpus", $"{vcpus}");
        Assert.Contains($"sha256 vda {ScratchDirectory.Sha256(image)}", result.Lines);
    }

    [Fact]
    public void The_host_reads_what_four_vcpus_filled_and_verified()
    {
        using ScratchDirectory scratch = new();
        string image = scratch.CreateImage("disk.img", 64 * MiB);
        string before = ScratchDirectory.Sha256(image);
        VmmResult result = Run(image, "fill vda 42; verify vda 42; flush vda; sha256 vda; poweroff", "--vcpus", "4");
        string after = ScratchDirectory.Sha256(image);
        Assert.NotEqual(before, after);
        Assert.Contains($"sha256 vda {after}", result.Lines);
    }

    [Fact]
    public void A_run_that_waits_for_an_image_ends_at_once_when_it_is_asked_to()
    {
        using ScratchDirectory scratch = new();
        string image = scratch.CreateImage("disk.img", MiB), copy = scratch.PathOf("copy.img");
        using UnseenLock held = new(image);
        using VmmProcess vmm = new("run", "--disk", $"path={copy},from={scratch.CreateImage("other.img", MiB)}", "--disk", image, "--exec", "poweroff");
        Assert.True(SpinWait.SpinUntil(() => File.Exists(copy) || vmm.HasEnded, TimeSpan.FromSeconds(60)));
        vmm.Signal("TERM");
        Assert.Equal(VmmResult.EndedByTerm, vmm.WaitForExit().ExitCode);
    }

    [Fact]
    public void A_verify_with_another_seed_fails_and_so_does_the_run()
    {
        using ScratchDirectory scratch = new();
        string image = scratch.CreateImage("disk.img", MiB);
        VmmResult result = VmmProcess.Run("run", "--disk", image, "--exec", "fill vda 1; verify vda 2; poweroff");
        Assert.Equal(1, result.ExitCode);
    }

    [Fact]
    public void A_write_that_was_flushed_is_in_the_image()
    {
        using ScratchDirectory scratch = new();
        string image = scratch.CreateImage("disk.img", MiB);
        byte[] expected = File.ReadAllBytes(image);
        new byte[] { 0xde, 0xad, 0xbe, 0xef }.CopyTo(expected, 5000);
        Run(image, "write vda 5000 deadbeef; flush vda; read vda 5000 4; poweroff");
        Assert.Equal(expected, File.ReadAllBytes(image));
    }

    [Fact]
    public void A_read_only_disk_refuses_writes_and_keeps_bytes_and_times()
    {
        using ScratchDirectory scratch = new();
        string image = scratch.CreateImage("disk.img", MiB);
        DateTime past = new(2020, 1, 2, 3, 4, 5, DateTimeKind.Utc);
        File.SetLastWriteTimeUtc(image, past);
        string before = ScratchDirectory.Sha256(image);
        VmmResult result = VmmProcess.Run("run", "--disk", $"{image},ro", "--exec", "write vda 0 ff; poweroff");
        Assert.Equal(1, result.ExitCode);
        Assert.Equal(before, ScratchDirectory.Sha256(image));
        Assert.Equal(past, File.GetLastWriteTimeUtc(image));
    }

    [Fact]
    public void A_trimmed_range_reads_as_zeros_and_the_rest_stays()
    {
        using ScratchDirectory scratch = new();
        string image = scratch.CreateImage("disk.img", MiB);
        byte[] expected = File.ReadAllBytes(image);
        expected.AsSpan(65536, 131072).Clear();
        Run(image, "trim vda 65536 131072; flush vda; poweroff");
        Assert.Equal(expected, File.ReadAllBytes(image));
    }

    [Fact]
    public void Two_disks_are_two_devices()
    {
        using ScratchDirectory scratch = new();
        string first = scratch.CreateImage("a.img", MiB, seed: 1);
        string second = scratch.CreateImage("b.img", 2 * MiB, seed: 2);
        VmmResult result = VmmProcess.Run("run", "--disk", first, "--disk", $"{second},ro", "--exec", "lsdev; sha256 vda; sha256 vdb; poweroff");
        Assert.Equal(0, result.ExitCode);
        Assert.Contains($"sha256 vda {ScratchDirectory.Sha256(first)}", result.Lines);
        Assert.Contains($"sha256 vdb {ScratchDirectory.Sha256(second)}", result.Lines);
    }

    [Fact]
    public void The_last_line_is_json_on_request_and_shows_no_ghost_and_no_allocation()
    {
        using ScratchDirectory scratch = new();
        string image = scratch.CreateImage("disk.img", 64 * MiB);
        VmmResult result = Run(image, "fill vda 7; verify vda 7; fill vda 8; verify vda 8; poweroff", "--vcpus", "4", "--stats", "json");
        using JsonDocument stats = JsonDocument.Parse(result.Lines[^1]);
        JsonElement reactor = stats.RootElement.GetProperty("reactor");
        Assert.Equal(0, reactor.GetProperty("ghosts").GetInt64());
        Assert.True(reactor.GetProperty("events").GetInt64() > 100);
        Assert.True(reactor.GetProperty("waits").GetInt64() > 0);
        Assert.True(reactor.GetProperty("events_per_wait").GetDouble() > 0);
        Assert.Equal(0, reactor.GetProperty("allocated_bytes").GetInt64());
        Assert.Equal(0, reactor.GetProperty("allocated_bytes_per_event").GetDouble());
        JsonElement disk = stats.RootElement.GetProperty("devices").EnumerateArray().Single(d => d.GetProperty("name").GetString() == "vda");
        foreach (string counter in (string[])["kicks", "requests", "bytes", "interrupts"])
            Assert.True(disk.GetProperty(counter).GetInt64() > 0, counter);
        Assert.True(disk.GetProperty("bytes").GetInt64() >= 4 * 64 * MiB);
        Assert.True(disk.GetProperty("latency_p99_us").GetDouble() >= disk.GetProperty("latency_p50_us").GetDouble());
    }

    [Fact]
    public void Two_reactors_serve_a_queue_of_a_disk_each()
    {
        using ScratchDirectory scratch = new();
        string image = scratch.CreateImage("disk.img", 16 * MiB);
        VmmResult result = VmmProcess.Run("run", "--reactors", "2", "--vcpus", "2", "--disk", $"path={image},queues=2",
            "--exec", "fill vda 7; verify vda 7; poweroff", "--stats", "json");
        using JsonDocument stats = JsonDocument.Parse(result.Lines[^1]);
        JsonElement disk = stats.RootElement.GetProperty("devices").EnumerateArray().Single(d => d.GetProperty("name").GetString() == "vda");
        JsonElement[] queues = [.. disk.GetProperty("queues").EnumerateArray()];
        Assert.Equal(["devices0", "devices1"], queues.Select(queue => queue.GetProperty("reactor").GetString()));
        Assert.All(queues, queue => Assert.True(queue.GetProperty("requests").GetInt64() > 0));
    }

    [Fact]
    public void Random_bytes_of_the_guest_look_random()
    {
        const int Length = 1 << 16;
        VmmResult result = VmmProcess.Run("run", "--exec", $"rng {Length}; poweroff");
        Assert.Equal(0, result.ExitCode);
        byte[] bytes = Convert.FromHexString(result.Lines.Single(line => line.Length == Length * 2));
        // Ones among the bits: 5 standard deviations around half of them. Bytes: chi-square of 255 degrees of freedom, beyond one in 10^9.
        int ones = bytes.Sum(value => int.PopCount(value));
        Assert.InRange(ones, Length * 4 - 5 * 362, Length * 4 + 5 * 362);
        double expected = Length / 256.0;
        double spread = bytes.CountBy(value => value).Sum(count => (count.Value - expected) * (count.Value - expected) / expected);
        Assert.InRange(spread, 140, 410);
    }

    [Fact]
    public void A_machine_can_do_without_entropy() =>
        Assert.NotEqual(0, VmmProcess.Run("run", "--rng", "false", "--exec", "rng 1; poweroff").ExitCode);

    [Fact]
    public void Without_a_disk_a_scratch_image_is_made_and_said()
    {
        VmmResult result = VmmProcess.Run("run", "--exec", "lsdev; poweroff");
        Assert.Equal(0, result.ExitCode);
        Assert.Contains("64 MiB scratch image", result.Output + result.Error);
        Assert.Contains("vda", result.Output);
    }

    [Fact]
    public void Without_commands_the_console_is_a_pipes_too()
    {
        VmmResult result = VmmProcess.RunWithInput("help\nlsdev\nread vda 0 4\npoweroff\n", "run");
        Assert.Equal(0, result.ExitCode);
        Assert.Contains("sha256", result.Output);
        Assert.Contains("00000000", result.Output);
    }

    [Fact]
    public void The_end_of_a_pipe_is_the_end_of_the_machine() => Assert.Equal(0, VmmProcess.RunWithInput("lsdev\n", "run").ExitCode);

    [Fact]
    public void An_unknown_command_is_named_and_fails_the_run()
    {
        VmmResult result = VmmProcess.Run("run", "--exec", "frobnicate; poweroff");
        Assert.NotEqual(0, result.ExitCode);
        Assert.Contains("frobnicate", result.Output + result.Error);
        Assert.DoesNotContain("   at ", result.Error);
    }

    private static VmmResult Run(string image, string commands, params string[] more)
    {
        VmmResult result = VmmProcess.Run(["run", "--disk", image, "--exec", commands, .. more]);
        Assert.True(result.ExitCode == 0, $"exit code {result.ExitCode}\n{result.Output}\n{result.Error}");
        return result;
    }
}
