using System.Text.Json;

namespace Vmm.EndToEnd;

/// <summary>Which threads serve the devices of a machine on KVM.</summary>
public sealed class BootReactorTests
{
    [Fact]
    public void Two_reactors_serve_a_queue_of_a_disk_each()
    {
        Assert.SkipUnless(File.Exists("/dev/kvm"), "needs /dev/kvm");
        using ScratchDirectory scratch = new();
        TwoQueueKernel.Write(scratch.PathOf("kernel"));
        VmmResult result = VmmProcess.Run("boot", "--kernel", scratch.PathOf("kernel"), "--memory", "64", "--reactors", "2",
            "--disk", $"path={scratch.CreateImage("disk.img", 1 << 20)},queues=2", "--stats", "json");
        Assert.True(result.ExitCode == 0, result.Error);
        using JsonDocument stats = JsonDocument.Parse(result.Lines[^1]);
        JsonElement disk = stats.RootElement.GetProperty("devices").EnumerateArray().Single();
        JsonElement[] queues = [.. disk.GetProperty("queues").EnumerateArray()];
        Assert.Equal(["devices0", "devices1"], queues.Select(queue => queue.GetProperty("reactor").GetString()));
        Assert.All(queues, queue => Assert.Equal((1, 16 + 512 + 1), (queue.GetProperty("requests").GetInt64(), queue.GetProperty("bytes").GetInt64())));
    }
}
