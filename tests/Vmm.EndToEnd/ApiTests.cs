using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;

namespace Vmm.EndToEnd;

/// <summary>The control API: devices and machines are looked at and changed while they run.</summary>
public sealed class ApiTests : IDisposable
{
    private const long MiB = 1 << 20;

    private readonly ScratchDirectory _scratch = new();

    private string Api => _scratch.PathOf("api.sock");

    [Fact]
    public void A_served_disk_is_looked_at_limited_and_made_larger()
    {
        string image = _scratch.CreateImage("disk.img", 4 * MiB), socket = _scratch.PathOf("disk.sock");
        using VmmProcess vmm = Serve("--blk", $"path={image},socket={socket}", "--rng", $"socket={_scratch.PathOf("rng.sock")}");
        using ApiClient api = new(Api);
        JsonElement machine = api.Get("/v1/machine");
        Assert.Equal(("serve", "running", vmm.Id, 2), (machine.GetProperty("kind").GetString(), machine.GetProperty("state").GetString(),
            machine.GetProperty("process").GetInt32(), machine.GetProperty("devices").GetInt32()));

        Assert.Equal(0, VmmProcess.Run("bench", "vhost-user-blk", "--socket", socket, "--seconds", "1").ExitCode);
        JsonElement disk = api.Get("/v1/devices/blk0");
        Assert.Equal(["blk0", "rng0"], api.Get("/v1/devices").GetProperty("devices").EnumerateArray().Select(each => each.GetProperty("name").GetString()));
        Assert.True(disk.GetProperty("requests").GetInt64() > 0);
        Assert.True(disk.GetProperty("latencyP99Us").GetDouble() > 0);
        Assert.Equal(4 * MiB, disk.GetProperty("capacityBytes").GetInt64());

        JsonElement changed = api.Send("PATCH", "/v1/devices/blk0", $$"""{ "operationsPerSecond": 100, "capacityBytes": {{8 * MiB}} }""").Body;
        Assert.Equal((100, 8 * MiB), (changed.GetProperty("operationsPerSecond").GetInt64(), changed.GetProperty("capacityBytes").GetInt64()));
        Assert.Equal(8 * MiB, new FileInfo(image).Length);
        long before = api.Get("/v1/devices/blk0").GetProperty("requests").GetInt64();
        Assert.Equal(0, VmmProcess.Run("bench", "vhost-user-blk", "--socket", socket, "--seconds", "2").ExitCode);
        Assert.InRange(api.Get("/v1/devices/blk0").GetProperty("requests").GetInt64() - before, 1, 1000);

        JsonElement inspected = api.Get("/v1/inspect").GetProperty("devices").GetProperty("blk0");
        Assert.Contains("WRITE_ZEROES", inspected.GetProperty("features").GetString());
        Assert.Equal(2, inspected.GetProperty("connections").GetInt64());
        Assert.True(api.Get("/v1/inspect").GetProperty("reactors").GetProperty("reactor0").GetProperty("waits").GetInt64() > 0);

        Assert.Equal(HttpStatusCode.Accepted, api.Send("POST", "/v1/machine/stop").Status);
        Assert.Equal(0, vmm.WaitForExit().ExitCode);
        Assert.False(File.Exists(Api));
    }

    [Fact]
    public void A_disk_is_served_and_taken_away_while_the_server_runs()
    {
        string socket = _scratch.PathOf("disk.sock"), image = _scratch.CreateImage("disk.img", MiB);
        using VmmProcess vmm = Serve();
        using ApiClient api = new(Api);
        using StreamReader events = api.Events();
        string asked = $$"""{ "kind": "blk", "options": "path={{image}},socket={{socket}}" }""";
        for (int round = 0; round < 3; round++)
        {
            (HttpStatusCode status, JsonElement added) = api.Send("POST", "/v1/devices", asked);
            Assert.Equal((HttpStatusCode.Created, "blk0"), (status, added.GetProperty("name").GetString()));
            Assert.Contains("in use", api.Refused(HttpStatusCode.UnprocessableEntity, "POST", "/v1/devices", asked));
            Assert.Equal(0, VmmProcess.Run("bench", "vhost-user-blk", "--socket", socket, "--seconds", "1").ExitCode);
            Assert.Equal(HttpStatusCode.NoContent, api.Send("DELETE", "/v1/devices/blk0").Status);
            Assert.Contains("there is no device 'blk0'", api.Refused(HttpStatusCode.NotFound, "DELETE", "/v1/devices/blk0"));
            Assert.False(File.Exists(socket));
            string[] kinds = ["device-added", "front-end-connected", "driver-started", "front-end-left", "device-removed"];
            foreach (string kind in kinds)
            {
                Assert.Equal(kind, NextEvent(events, out JsonElement data));
                Assert.Equal("blk0", data.GetProperty("device").GetString());
            }
        }
        Assert.Empty(api.Get("/v1/devices").GetProperty("devices").EnumerateArray());
    }

    [Fact]
    public void Hundreds_of_disks_come_and_go_while_another_one_is_loaded_and_leave_nothing()
    {
        const int Disks = 300;
        string socket = _scratch.PathOf("loaded.sock"), figures = _scratch.PathOf("figures.json");
        using VmmProcess vmm = Serve("--blk", $"path={_scratch.CreateImage("disk.img", MiB)},socket={socket}");
        using ApiClient api = new(Api);
        using VmmProcess load = new("bench", "vhost-user-blk", "--socket", socket, "--seconds", "4", "--verify", "--rw", "randrw", "--json", figures);
        vmm.WaitFor("a driver runs");
        int Descriptors() => Directory.GetFileSystemEntries($"/proc/{vmm.Id}/fd").Length;
        AddAndRemove(1);
        int before = Descriptors();
        long start = System.Diagnostics.Stopwatch.GetTimestamp();
        AddAndRemove(Disks);
        TestContext.Current.SendDiagnosticMessage($"{Disks} disks came and went in {System.Diagnostics.Stopwatch.GetElapsedTime(start).TotalMilliseconds:0} ms");
        // In a sandbox each connection ends with its request, a moment after the answer.
        for (long end = System.Diagnostics.Stopwatch.GetTimestamp(); Descriptors() > before; Thread.Sleep(10))
            Assert.True(System.Diagnostics.Stopwatch.GetElapsedTime(end) < TimeSpan.FromMinutes(1), $"{Descriptors()} descriptors stay, not {before}");
        Assert.Equal(["blk0"], api.Get("/v1/devices").GetProperty("devices").EnumerateArray().Select(each => each.GetProperty("name").GetString()));
        Assert.Equal(0, load.WaitForExit().ExitCode);
        Assert.Equal(0, JsonDocument.Parse(File.ReadAllText(figures)).RootElement.GetProperty("a").GetProperty("errors").GetInt64());

        void AddAndRemove(int count)
        {
            for (int i = 1; i <= count; i++)
                Assert.Equal($"blk{i}", api.Send("POST", "/v1/devices", $$"""{ "kind": "blk", "options": "path=null:1M,socket={{_scratch.PathOf($"{i}")}}" }""").Body.GetProperty("name").GetString());
            for (int i = 1; i <= count; i++) Assert.Equal(HttpStatusCode.NoContent, api.Send("DELETE", $"/v1/devices/blk{i}").Status);
        }
    }

    [Fact]
    public void A_machine_stands_still_goes_on_and_its_balloon_takes_memory()
    {
        using VmmProcess vmm = new("run", "--api", Api);
        vmm.Input.WriteLine("lsdev");
        vmm.WaitFor("balloon0: balloon");
        using ApiClient api = new(Api);
        while (api.Get("/v1/inspect").GetProperty("devices").GetProperty("balloon0").GetProperty("driver").GetBoolean() is false) Thread.Sleep(20);
        using StreamReader events = api.Events();
        Assert.Equal("paused", api.Send("POST", "/v1/machine/pause").Body.GetProperty("state").GetString());
        Assert.Equal("machine-paused", NextEvent(events, out _));
        Assert.Equal("running", api.Send("POST", "/v1/machine/resume").Body.GetProperty("state").GetString());
        Assert.Equal("machine-resumed", NextEvent(events, out _));
        Assert.Equal(32 * MiB, api.Send("PATCH", "/v1/devices/balloon0", $$"""{ "targetBytes": {{32 * MiB}} }""").Body.GetProperty("targetBytes").GetInt64());
        while (api.Get("/v1/devices/balloon0").GetProperty("actualBytes").GetInt64() != 32 * MiB) Thread.Sleep(20);
        Assert.Contains("the machine has", api.Refused(HttpStatusCode.UnprocessableEntity, "PATCH", "/v1/devices/balloon0", $$"""{ "targetBytes": {{512 * MiB}} }"""));
        Assert.Contains("when it boots", api.Refused(HttpStatusCode.Conflict, "POST", "/v1/devices", """{ "kind": "rng", "options": "socket=s" }"""));
        vmm.Input.WriteLine("poweroff");
        Assert.Equal("machine-ended", NextEvent(events, out _));
        Assert.Equal(0, vmm.WaitForExit().ExitCode);
    }

    [Fact]
    public void What_makes_no_sense_is_refused_in_a_sentence_that_says_what_to_do()
    {
        using VmmProcess vmm = Serve("--rng", $"socket={_scratch.PathOf("rng.sock")}");
        using ApiClient api = new(Api);
        Assert.Contains("openapi.json", api.Refused(HttpStatusCode.NotFound, "GET", "/v1/nothing"));
        Assert.Equal("this path takes GET, POST", api.Refused(HttpStatusCode.MethodNotAllowed, "DELETE", "/v1/devices"));
        Assert.Contains("run by other processes", api.Refused(HttpStatusCode.Conflict, "POST", "/v1/machine/pause"));
        Assert.Contains("'$.color'", api.Refused(HttpStatusCode.BadRequest, "PATCH", "/v1/devices/rng0", """{ "color": 1 }"""));
        Assert.Contains("makes no sense", api.Refused(HttpStatusCode.BadRequest, "PATCH", "/v1/devices/rng0", "{"));
        Assert.Contains("makes no sense", api.Refused(HttpStatusCode.BadRequest, "PATCH", "/v1/devices/rng0", new string('[', 1000)));
        Assert.Contains("nothing to change", api.Refused(HttpStatusCode.UnprocessableEntity, "PATCH", "/v1/devices/rng0", "{}"));
        Assert.Contains("that is for disks", api.Refused(HttpStatusCode.UnprocessableEntity, "PATCH", "/v1/devices/rng0", """{ "capacityBytes": 1 }"""));
        Assert.Contains("0 for no limit", api.Refused(HttpStatusCode.UnprocessableEntity, "PATCH", "/v1/devices/rng0", """{ "bytesPerSecond": -1 }"""));
        Assert.Contains("application/json", api.Refused(HttpStatusCode.UnsupportedMediaType, "PATCH", "/v1/devices/rng0", "{}", "text/plain"));
        Assert.Contains("give one of blk", api.Refused(HttpStatusCode.UnprocessableEntity, "POST", "/v1/devices", """{ "kind": "gpu", "options": "" }"""));
        Assert.Contains("'socket=…' is missing", api.Refused(HttpStatusCode.UnprocessableEntity, "POST", "/v1/devices", """{ "kind": "rng", "options": "" }"""));
        Assert.Contains("No such file", api.Refused(HttpStatusCode.UnprocessableEntity, "POST", "/v1/devices",
            $$"""{ "kind": "blk", "options": "path=/no/such/image,socket={{_scratch.PathOf("x")}}" }"""), StringComparison.OrdinalIgnoreCase);
        Assert.Contains("is no level", api.Refused(HttpStatusCode.UnprocessableEntity, "PUT", "/v1/log", """{ "level": "9" }"""));
        Assert.Equal("debug", api.Send("PUT", "/v1/log", """{ "level": "debug" }""").Body.GetProperty("level").GetString());
        Assert.Equal("debug", api.Get("/v1/log").GetProperty("level").GetString());
        Assert.Equal("rng0", api.Get("/v1/devices/rng0").GetProperty("name").GetString());
    }

    [Fact]
    public void The_document_is_the_one_in_docs()
    {
        using VmmProcess vmm = Serve();
        using ApiClient api = new(Api);
        string document = api.Text("/v1/openapi.json");
        if (Environment.GetEnvironmentVariable("VMM_ACCEPT_API") == "1") File.WriteAllText(Repository.PathOf("docs/openapi.json"), document);
        Assert.Equal(File.ReadAllText(Repository.PathOf("docs/openapi.json")), document);
        // Every operation that it lists answers, and no other: with something else than 404 for a path, or 405 for a method.
        foreach (JsonProperty path in JsonDocument.Parse(document).RootElement.GetProperty("paths").EnumerateObject())
        {
            string[] offered = [.. path.Value.EnumerateObject().Select(operation => operation.Name.ToUpperInvariant())];
            string refusal = api.Refused(HttpStatusCode.MethodNotAllowed, "OPTIONS", path.Name.Replace("{name}", "blk0"));
            Assert.Equal($"this path takes {string.Join(", ", offered)}", refusal);
        }
    }

    [Fact]
    public void A_client_that_is_slow_large_or_many_does_not_disturb_the_others()
    {
        string socket = _scratch.PathOf("disk.sock");
        using VmmProcess vmm = Serve("--blk", $"path={_scratch.CreateImage("disk.img", MiB)},socket={socket}");
        using ApiClient api = new(Api);
        List<Socket> idle = [];
        try
        {
            for (int i = 0; i < 500; i++) idle.Add(Connect());
            // Those it has room for say half a request; it closes the others at once, and these a little later.
            foreach (Socket each in idle) TrySend(each, "GET /v1/machine HT");
            Assert.Equal(0, VmmProcess.Run("bench", "vhost-user-blk", "--socket", socket, "--seconds", "1").ExitCode);
            foreach (Socket each in idle) Assert.Contains(ReadToEnd(each), (string[])["", "408"]);
        }
        finally
        {
            idle.ForEach(each => each.Dispose());
        }
        foreach ((string request, string status) in ((string, string)[])
        [
            ("POST /v1/devices HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99999999\r\n\r\n", "413"),
            ($"GET /{new string('x', 5000)} HTTP/1.1\r\nHost: x\r\n\r\n", "414"),
            ($"GET / HTTP/1.1\r\nHost: x\r\nX: {new string('x', 20_000)}\r\n\r\n", "431"),
            ("\0\u0001\u0002 nonsense\r\n\r\n", "400"),
        ])
        {
            using Socket connection = Connect();
            TrySend(connection, request);
            Assert.Equal(status, ReadToEnd(connection));
        }
        Assert.Equal("running", api.Get("/v1/machine").GetProperty("state").GetString());
    }

    [Fact]
    public void Another_user_gets_nothing()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "a process of another user is needed, which root can start");
        using VmmProcess vmm = Serve();
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Api));
        string[] curl = ["curl", "-s", "-S", "--unix-socket", Api, "http://vmm/v1/machine"];
        Assert.Contains("\"serve\"", Shell.Run(curl));
        string[] stranger = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
        File.SetUnixFileMode(_scratch.PathOf(""), UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute | UnixFileMode.OtherExecute);
        Assert.NotEqual(0, Shell.Try([.. stranger, .. curl]).ExitCode);
        // A wider mode of the socket does not open the API to other users.
        File.SetUnixFileMode(Api, (UnixFileMode)0b110_110_110);
        (int exitCode, string output) = Shell.Try([.. stranger, .. curl]);
        Assert.NotEqual(0, exitCode);
        Assert.DoesNotContain("\"kind\"", output);
    }

    [Theory]
    [InlineData("127.0.0.1:8080", "--api-tls")]
    [InlineData("http://localhost", "--api-tls")]
    [InlineData("", "give the path")]
    [InlineData("/a/path/that/is/longer/than/the/kernel/takes/for/a/socket/because/it/goes/on/and/on/and/on/and/on/and/on/until/it/is/too/long", "at most 107")]
    public void A_place_where_it_can_not_listen_is_refused(string place, string word)
    {
        VmmResult result = VmmProcess.Run("serve", "--api", place, "--rng", $"socket={_scratch.PathOf("s")}");
        Assert.Equal(2, result.ExitCode);
        Assert.Contains(word, result.Error);
    }

    [Fact]
    public void Without_it_nothing_listens_and_nothing_of_it_is_loaded()
    {
        using VmmProcess vmm = new("serve", "--rng", $"socket={_scratch.PathOf("s")}");
        vmm.WaitFor("listening rng");
        Assert.Single(SocketsOf(vmm));
        Assert.DoesNotContain("Kestrel", File.ReadAllText($"/proc/{vmm.Id}/maps"));
        string[] commands = ["dotnet", VmmTool.Assembly, "serve", "--rng", $"socket={_scratch.PathOf("t")}"];
        using System.Diagnostics.Process assembly = System.Diagnostics.Process.Start(new System.Diagnostics.ProcessStartInfo(commands[0], commands[1..]) { RedirectStandardOutput = true })!;
        try
        {
            Assert.Contains("listening", assembly.StandardOutput.ReadLine());
            // Other parts of the shared framework are in its folder too.
            Assert.DoesNotContain("/Microsoft.AspNetCore.Server", File.ReadAllText($"/proc/{assembly.Id}/maps"));
            Assert.DoesNotContain("/Microsoft.AspNetCore.Http", File.ReadAllText($"/proc/{assembly.Id}/maps"));
        }
        finally
        {
            assembly.Kill();
        }
    }

    public void Dispose() => _scratch.Dispose();

    private VmmProcess Serve(params string[] devices)
    {
        VmmProcess vmm = new(["serve", "--api", Api, .. devices]);
        vmm.WaitFor($"listening api {Api}");
        return vmm;
    }

    private static IEnumerable<string> SocketsOf(VmmProcess vmm) => Directory.GetFiles($"/proc/{vmm.Id}/fd")
        .Select(fd => new FileInfo(fd).LinkTarget ?? "").Where(target => target.StartsWith("socket:", StringComparison.Ordinal));

    private static string NextEvent(StreamReader events, out JsonElement data)
    {
        while (true)
        {
            string line = events.ReadLine() ?? throw new EndOfStreamException("the events ended");
            if (!line.StartsWith("event: ", StringComparison.Ordinal)) continue;
            data = JsonDocument.Parse(events.ReadLine()!["data: ".Length..]).RootElement;
            Assert.Equal(line["event: ".Length..], data.GetProperty("kind").GetString());
            return line["event: ".Length..];
        }
    }

    private Socket Connect()
    {
        Socket socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { ReceiveTimeout = 60_000 };
        socket.Connect(new UnixDomainSocketEndPoint(Api));
        return socket;
    }

    private static void TrySend(Socket socket, string text)
    {
        try
        {
            socket.Send(Encoding.Latin1.GetBytes(text));
        }
        catch (SocketException)
        {
            // It was closed already.
        }
    }

    /// <summary>The status of the answer; empty if the connection ends without one.</summary>
    private static string ReadToEnd(Socket socket)
    {
        StringBuilder text = new();
        byte[] buffer = new byte[4096];
        try
        {
            for (int length; (length = socket.Receive(buffer)) > 0;) text.Append(Encoding.ASCII.GetString(buffer, 0, length));
        }
        catch (SocketException refused) when (refused.SocketErrorCode is SocketError.ConnectionReset or SocketError.Shutdown)
        {
            // Closed with something unread.
        }
        return text.Length == 0 ? "" : text.ToString().Split(' ')[1];
    }
}
