using System.Net;
using System.Text.Json;

namespace Vmm.EndToEnd;

/// <summary><c>vmm ctl</c>: what the API can do, from a command line.</summary>
public sealed class CtlTests : IDisposable
{
    private const long MiB = 1 << 20;

    private readonly ScratchDirectory _scratch = new();

    private string Api => _scratch.PathOf("api.sock");

    [Fact]
    public void A_device_is_listed_changed_added_and_removed()
    {
        string socket = _scratch.PathOf("a.sock"), image = _scratch.CreateImage("a.img", MiB);
        using VmmProcess vmm = Serve("--blk", $"path={image},socket={socket}");
        using VmmProcess watch = new("ctl", Api, "watch");
        string[] table = Ctl("ls");
        Assert.StartsWith("NAME", table[0]);
        Assert.StartsWith("blk0  block", table[1]);
        Assert.Contains($"capacityBytes {MiB}", Ctl("get", "blk0"));
        Assert.Contains("readOnly false", Ctl("get", "blk0"));
        Assert.Contains("kind serve", Ctl("get"));

        Assert.Empty(Ctl("set", "blk0", "capacityBytes=2M", "operationsPerSecond=100", "burstSeconds=0.5"));
        Assert.Contains($"capacityBytes {2 * MiB}", Ctl("get", "blk0"));
        Assert.Contains("burstSeconds 0.5", Ctl("get", "blk0"));
        Assert.Contains("100/s", Ctl("ls")[1]);
        watch.WaitFor("capacity-changed");

        Assert.Equal(["blk1"], Ctl("add", "blk", $"path={_scratch.CreateImage("b.img", MiB)},socket={_scratch.PathOf("b.sock")}"));
        Assert.Equal(0, VmmProcess.Run("bench", "vhost-user-blk", "--socket", _scratch.PathOf("b.sock"), "--seconds", "1").ExitCode);
        Assert.Empty(Ctl("remove", "blk1"));
        Assert.Equal(2, Ctl("ls").Length);
        watch.WaitFor("device-removed");

        Assert.Equal(["information"], Ctl("log"));
        Assert.Empty(Ctl("log", "error"));
        Assert.Equal(["error"], Ctl("log"));
        Assert.Contains("\"reactor0\": {", string.Join('\n', Ctl("inspect")));
        Assert.Empty(Ctl("stop"));
        Assert.Equal(0, vmm.WaitForExit().ExitCode);
        Assert.Equal(0, watch.WaitForExit().ExitCode);
    }

    /// <summary>What a configuration file can say of a device, and the API and this command can change.</summary>
    [Theory]
    [InlineData("disk", "path = \"null:1M\"", "blk0", "iops = 100", "operationsPerSecond", "100")]
    [InlineData("disk", "path = \"null:1M\"", "blk0", "bytes = \"1M\"", "bytesPerSecond", "1048576")]
    [InlineData("disk", "path = \"null:1M\"", "blk0", "iops = 100\nburst = 0.5", "burstSeconds", "0.5")]
    [InlineData("rng", "", "rng0", "iops = 7", "operationsPerSecond", "7")]
    [InlineData("rng", "", "rng0", "bytes = \"64K\"", "bytesPerSecond", "65536")]
    [InlineData("balloon", "", "balloon0", "target = 64", "targetBytes", "67108864")]
    public void What_a_file_says_of_a_device_the_API_and_a_command_change(
        string kind, string rest, string name, string file, string field, string value)
    {
        string socket = _scratch.PathOf("a.sock"), config = _scratch.PathOf("vmm.toml");
        string device = $"[[{kind}]]\n{rest}\nsocket = \"{socket}\"\n";
        string Field() => string.Join('\n', Ctl("get", name).Where(line => line.StartsWith($"{field} ", StringComparison.Ordinal)));
        foreach ((string said, Action? change) in ((string, Action?)[])
        [
            (file, null),
            ("", () =>
            {
                using ApiClient api = new(Api);
                Assert.Equal(HttpStatusCode.OK, api.Send("PATCH", $"/v1/devices/{name}", $$"""{ "{{field}}": {{value}} }""").Status);
            }),
            ("", () => Assert.Empty(Ctl("set", name, $"{field}={value}"))),
        ])
        {
            File.WriteAllText(config, $"command = \"serve\"\napi = \"{Api}\"\n{device}{said}\n");
            using VmmProcess vmm = new("start", config);
            vmm.WaitFor($"listening api {Api}");
            if (change is not null) Assert.NotEqual($"{field} {value}", Field());
            change?.Invoke();
            Assert.Equal($"{field} {value}", Field());
            Assert.Empty(Ctl("stop"));
            Assert.Equal(0, vmm.WaitForExit().ExitCode);
        }
    }

    [Fact]
    public void A_machine_is_paused_resumed_and_stopped()
    {
        using VmmProcess vmm = new("run", "--api", Api);
        vmm.Input.WriteLine("lsdev");
        vmm.WaitFor("balloon0: balloon");
        Assert.Empty(Ctl("pause"));
        Assert.Contains("state paused", Ctl("get"));
        Assert.Empty(Ctl("resume"));
        Assert.Contains("state running", Ctl("get"));
        Assert.Empty(Ctl("set", "balloon0", "targetBytes=16M"));
        Assert.Contains($"targetBytes {16 * MiB}", Ctl("get", "balloon0"));
        Assert.Empty(Ctl("stop"));
        Assert.Contains("stopped by the API", vmm.WaitForExit().Error);
    }

    [Theory]
    [InlineData(2, "names no field that can be changed", "set", "rng0", "color=1")]
    [InlineData(2, "has no value", "set", "rng0", "bytesPerSecond")]
    [InlineData(2, "given twice", "set", "rng0", "bytesPerSecond=1", "bytesPerSecond=2")]
    [InlineData(2, "such as 4096 or 8G", "set", "rng0", "bytesPerSecond=many")]
    [InlineData(2, "such as 4096 or 8G", "set", "rng0", "bytesPerSecond=99999999P")]
    [InlineData(2, "give true or false", "set", "rng0", "linkUp=maybe")]
    [InlineData(2, "is no level", "log", "loud")]
    [InlineData(1, "that is for disks", "set", "rng0", "capacityBytes=8G")]
    [InlineData(1, "there is no device 'x'", "get", "x")]
    [InlineData(1, "there is no device '..%2Fmachine'", "get", "../machine")]
    [InlineData(1, "run by other processes", "pause")]
    [InlineData(1, "give one of blk", "add", "gpu", "socket=s")]
    public void What_makes_no_sense_is_refused_in_a_sentence(int exitCode, string words, params string[] arguments)
    {
        using VmmProcess vmm = Serve("--rng", $"socket={_scratch.PathOf("rng.sock")}");
        VmmResult result = VmmProcess.Run(["ctl", Api, .. arguments]);
        Assert.Equal(exitCode, result.ExitCode);
        Assert.Contains(words, result.Error);
        Assert.Single(result.Error.Split('\n', StringSplitOptions.RemoveEmptyEntries));
    }

    [Fact]
    public void Help_names_every_field_that_can_be_changed()
    {
        using JsonDocument document = JsonDocument.Parse(File.ReadAllText(Repository.PathOf("docs/openapi.json")));
        JsonElement fields = document.RootElement.GetProperty("components").GetProperty("schemas").GetProperty("DeviceChange").GetProperty("properties");
        string help = string.Join(' ', VmmProcess.Run("ctl", "set", "--help").Lines);
        Assert.Contains($"{string.Join(", ", fields.EnumerateObject().Select(field => field.Name))}. Bytes", help);
    }

    [Fact]
    public void An_API_that_is_not_there_is_answered_by_a_sentence()
    {
        VmmResult result = VmmProcess.Run("ctl", Api, "ls");
        Assert.Equal((1, ""), (result.ExitCode, result.Output));
        Assert.Contains($"no such file or directory; does a vmm run with --api {Api}?", result.Error);
    }

    [Fact]
    public void All_that_listen_in_a_directory_are_listed()
    {
        Assert.Contains("no API listens", VmmProcess.Run("ctl", _scratch.Path, "ls").Error);
        string a = _scratch.PathOf("a.api.sock"), b = _scratch.PathOf("b-api.sock");
        using VmmProcess first = new("serve", "--api", a, "--rng", $"socket={_scratch.PathOf("r")}");
        // Without a broker, which would remove the socket of a process that was killed.
        using VmmProcess second = new("serve", "--sandbox=off", "--api", b);
        first.WaitFor("listening api");
        second.WaitFor("listening api");
        VmmResult listed = VmmProcess.Run("ctl", _scratch.Path, "ls");
        Assert.Equal((0, ""), (listed.ExitCode, listed.Error));
        Assert.StartsWith("PROCESS", listed.Lines[0]);
        Assert.StartsWith("a        serve  running  rng0  entropy", listed.Lines[1]);
        Assert.StartsWith("b        serve  running  -", listed.Lines[2]);
        Assert.Contains("is for one of those", VmmProcess.Run("ctl", _scratch.Path, "pause").Error);
        second.Signal("KILL");
        second.WaitForExit();
        listed = VmmProcess.Run("ctl", _scratch.Path, "ls");
        Assert.Equal(1, listed.ExitCode);
        Assert.Contains($"cannot reach the API at '{b}'", listed.Error);
        Assert.Contains("rng0", listed.Output);
    }

    public void Dispose() => _scratch.Dispose();

    private VmmProcess Serve(params string[] devices)
    {
        VmmProcess vmm = new(["serve", "--api", Api, .. devices]);
        vmm.WaitFor($"listening api {Api}");
        return vmm;
    }

    private string[] Ctl(params string[] arguments)
    {
        VmmResult result = VmmProcess.Run(["ctl", Api, .. arguments]);
        Assert.True(result.ExitCode == 0, result.Error);
        return result.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
    }
}
