using System.Diagnostics;
using System.Net;
using System.Text.Json;

namespace Vmm.EndToEnd;

/// <summary>What the API and <c>vmm ctl</c> do with a medium, a connection, a server that is to end; and work that takes long.</summary>
public sealed class ApiWorkTests : IDisposable
{
    private const long MiB = 1 << 20;

    private readonly ScratchDirectory _scratch = new();

    private string Api => _scratch.PathOf("api.sock");

    [Fact]
    public void A_disk_gets_another_medium_under_load_and_is_flushed()
    {
        string socket = _scratch.PathOf("a.sock"), figures = _scratch.PathOf("figures.json");
        string[] images = [_scratch.CreateImage("a.img", 8 * MiB), _scratch.CreateImage("b.img", 8 * MiB), _scratch.CreateImage("c.img", 16 * MiB)];
        using VmmProcess vmm = Serve("--blk", $"path={images[0]},socket={socket}");
        using ApiClient api = new(Api);
        using VmmProcess watch = new("ctl", Api, "watch");
        using VmmProcess load = new("bench", "vhost-user-blk", "--socket", socket, "--seconds", "4", "--rw", "randrw", "--json", figures);
        vmm.WaitFor("a driver runs");
        for (int round = 1; round <= 6; round++)
        {
            string image = images[round % 2];
            if (round % 2 == 0) Assert.Equal(HttpStatusCode.OK, api.Send("PATCH", "/v1/devices/blk0", $$"""{ "medium": "{{image}}" }""").Status);
            else Assert.Empty(Ctl("set", "blk0", $"medium={image}"));
            Assert.Contains(image, api.Get("/v1/devices/blk0").GetProperty("storage").GetString());
            Assert.Empty(Ctl("flush", "blk0"));
        }
        Assert.Equal(0, load.WaitForExit().ExitCode);
        Assert.Equal(0, JsonDocument.Parse(File.ReadAllText(figures)).RootElement.GetProperty("a").GetProperty("errors").GetInt64());
        JsonElement disk = api.Get("/v1/devices/blk0");
        JsonElement read = disk.GetProperty("operations").EnumerateArray().Single(each => each.GetProperty("kind").GetString() == "read");
        Assert.True(read.GetProperty("measured").GetInt64() > 0 && read.GetProperty("latencyP99Us").GetDouble() > 0);

        Assert.Equal(16 * MiB, api.Send("PATCH", "/v1/devices/blk0", $$"""{ "medium": "{{images[2]}}" }""").Body.GetProperty("capacityBytes").GetInt64());
        watch.WaitFor("medium-changed");
        // The one before was let go of.
        using (FileStream mine = new(images[0], FileMode.Open, FileAccess.ReadWrite, FileShare.None)) Assert.Equal(8 * MiB, mine.Length);
        Assert.Contains("No such file", api.Refused(HttpStatusCode.UnprocessableEntity, "PATCH", "/v1/devices/blk0", """{ "medium": "/no/such/image" }"""), StringComparison.OrdinalIgnoreCase);
        Assert.Contains("in use", api.Refused(HttpStatusCode.UnprocessableEntity, "PATCH", "/v1/devices/blk0", $$"""{ "medium": "{{images[2]}}" }"""));
        Assert.Contains("put in alone", api.Refused(HttpStatusCode.UnprocessableEntity, "PATCH", "/v1/devices/blk0", """{ "medium": "null:1M", "capacityBytes": 1 }"""));
        Assert.Equal(0, VmmProcess.Run("bench", "vhost-user-blk", "--socket", socket, "--seconds", "1", "--rw", "randrw", "--verify").ExitCode);
    }

    [Fact]
    public void Work_that_takes_long_is_an_operation_that_can_be_looked_at()
    {
        using VmmProcess vmm = Serve("--blk", $"path=null:1M,socket={_scratch.PathOf("a.sock")}", "--rng", $"socket={_scratch.PathOf("r.sock")}");
        using ApiClient api = new(Api);
        Assert.Empty(api.Get("/v1/operations").GetProperty("operations").EnumerateArray());
        (HttpStatusCode status, JsonElement work) = api.Send("POST", "/v1/devices/blk0/flush", waits: false);
        // It may be over before it is asked for: it is an operation all the same.
        if (status == HttpStatusCode.Accepted)
        {
            string id = work.GetProperty("id").GetString()!;
            Assert.Equal(("flush", "blk0"), (work.GetProperty("kind").GetString(), work.GetProperty("device").GetString()));
            Assert.True(SpinWait.SpinUntil(() => api.Get($"/v1/operations/{id}").GetProperty("state").GetString() == "done", TimeSpan.FromSeconds(30)));
            Assert.Contains("flush", string.Join('\n', Ctl("operations")));
        }
        else Assert.Equal(HttpStatusCode.OK, status);
        Assert.Contains("there is no operation", api.Refused(HttpStatusCode.NotFound, "GET", "/v1/operations/999"));
        Assert.Contains("only disks", api.Refused(HttpStatusCode.UnprocessableEntity, "POST", "/v1/devices/rng0/flush"));
    }

    [Fact]
    public void A_server_that_drains_lets_its_guests_go_on_takes_no_other_and_ends_with_the_last()
    {
        string a = _scratch.PathOf("a.sock"), b = _scratch.PathOf("b.sock");
        using VmmProcess vmm = Serve("--blk", $"path=null:1M,socket={a}", "--blk", $"path=null:1M,socket={b}");
        using ApiClient api = new(Api);
        using VmmProcess load = new("bench", "vhost-user-blk", "--socket", a, "--seconds", "3", "--rw", "randrw");
        vmm.WaitFor("a driver runs");
        (HttpStatusCode status, JsonElement work) = api.Send("POST", "/v1/machine/drain", "{}");
        Assert.Equal((HttpStatusCode.Accepted, "drain"), (status, work.GetProperty("kind").GetString()));
        Assert.Equal("draining", api.Get("/v1/machine").GetProperty("state").GetString());
        Assert.True(SpinWait.SpinUntil(() => !File.Exists(a) && !File.Exists(b), TimeSpan.FromSeconds(30)));
        Assert.Contains("takes no more devices", api.Refused(HttpStatusCode.Conflict, "POST", "/v1/devices", $$"""{ "kind": "rng", "options": "socket={{_scratch.PathOf("c")}}" }"""));
        Assert.Equal(1, VmmProcess.Run("bench", "vhost-user-blk", "--socket", b, "--seconds", "1").ExitCode);
        Assert.Equal(0, load.WaitForExit().ExitCode);
        Assert.Equal(0, vmm.WaitForExit().ExitCode);
    }

    [Fact]
    public void A_drain_ends_when_its_time_is_up_though_a_front_end_stays()
    {
        string socket = _scratch.PathOf("a.sock");
        using VmmProcess vmm = Serve("--blk", $"path=null:1M,socket={socket}");
        using VmmProcess load = new("bench", "vhost-user-blk", "--socket", socket, "--seconds", "600");
        vmm.WaitFor("a driver runs");
        Assert.Empty(Ctl("drain", "1"));
        Assert.Equal(0, vmm.WaitForExit().ExitCode);
    }

    [Fact]
    public void A_connection_between_guest_and_host_is_listed_and_ended()
    {
        Assert.SkipUnless(File.Exists("/usr/bin/socat"), "socat is not installed: tools/test.sh installs it");
        string uds = _scratch.PathOf("v");
        using VmmProcess vmm = new("run", "--vsock", $"cid=3,uds={uds}", "--api", Api, "--exec", "vsock echo 80 9; poweroff");
        vmm.WaitFor("listening on port 80");
        using Process socat = Process.Start(new ProcessStartInfo("socat", ["-t60", "-", $"UNIX-CONNECT:{uds}"]) { RedirectStandardInput = true, RedirectStandardOutput = true })!;
        socat.StandardInput.WriteLine("CONNECT 80");
        Assert.StartsWith("OK ", socat.StandardOutput.ReadLine());
        using ApiClient api = new(Api);
        JsonElement open = Assert.Single(api.Get("/v1/devices/vsock0/connections").GetProperty("connections").EnumerateArray());
        Assert.Equal((80, "open"), (open.GetProperty("guestPort").GetInt32(), open.GetProperty("state").GetString()));
        Assert.Equal(1, api.Get("/v1/devices/vsock0").GetProperty("sockets").GetInt32());
        string host = $"{open.GetProperty("hostPort").GetInt64()}";
        Assert.Contains($"80     {host}", string.Join('\n', Ctl("connections", "vsock0")));
        Assert.Empty(Ctl("disconnect", "vsock0", "80", host));
        Assert.Null(socat.StandardOutput.ReadLine());
        Assert.Contains("no connection between port 80", VmmProcess.Run("ctl", Api, "disconnect", "vsock0", "80", host).Error);
        Assert.Contains("that is for sockets", api.Refused(HttpStatusCode.UnprocessableEntity, "GET", "/v1/devices/rng0/connections"));
        socat.WaitForExit();
    }

    [Fact]
    public void A_network_card_says_what_its_driver_wants()
    {
        using VmmProcess vmm = Serve("--net", $"uds={_scratch.PathOf("n")},mtu=1400,mac=02:00:00:00:00:07,socket={_scratch.PathOf("s")}");
        using ApiClient api = new(Api);
        JsonElement net = api.Get("/v1/devices/net0");
        Assert.Equal(1400, net.GetProperty("mtu").GetInt32());
        JsonElement filter = net.GetProperty("receiveFilter");
        Assert.True(filter.GetProperty("promiscuous").GetBoolean());
        Assert.Equal("02:00:00:00:00:07", filter.GetProperty("address").GetString());
    }

    [Fact]
    public void A_machine_without_a_power_button_says_so()
    {
        using VmmProcess vmm = new("run", "--api", Api);
        vmm.Input.WriteLine("lsdev");
        vmm.WaitFor("balloon0: balloon");
        using ApiClient api = new(Api);
        Assert.Contains("only a machine of 'vmm boot' has a power button", api.Refused(HttpStatusCode.Conflict, "POST", "/v1/machine/power-off"));
        Assert.Contains("only a machine of 'vmm boot' can be reset", api.Refused(HttpStatusCode.Conflict, "POST", "/v1/machine/reset"));
        Assert.Contains("only 'vmm serve' has front-ends", api.Refused(HttpStatusCode.Conflict, "POST", "/v1/machine/drain", "{}"));
        Assert.Contains("only a machine of 'vmm boot'", VmmProcess.Run("ctl", Api, "power-off").Error);
        Assert.Contains("only a machine of 'vmm boot'", VmmProcess.Run("ctl", Api, "reset").Error);
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
