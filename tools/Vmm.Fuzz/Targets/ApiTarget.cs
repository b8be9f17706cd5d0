using System.Globalization;
using System.Text;
using System.Text.Json;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Vmm.Devices;
using Vmm.Devices.VhostUser;
using Vmm.Tool;

namespace Vmm.Fuzz;

/// <summary>
/// Requests to the control API of a server with a disk and a socket device, with bodies that are right, nearly right, and of any bytes.
/// Each is carried out, or answered by a problem that a client can act on; what fails is never vmm itself, and the devices can be looked at
/// after it.
/// </summary>
internal sealed class ApiTarget(Tally tally) : IFuzzTarget
{
    private const int FieldsMax = 4;
    private const int LettersMax = 8;
    private const int RequestsMax = 4;
    private const int SentenceLengthMax = 64 << 10;
    private const string Disk = "blk0";

    private static readonly string[] Names =
    [
        "operationsPerSecond", "bytesPerSecond", "burstSeconds", "capacityBytes", "medium", "targetBytes", "linkUp", "columns", "rows",
        "kind", "options", "level", "guestPort", "hostPort", "seconds", "directory", "stop", "Kind", "", "é",
    ];

    private static readonly string[] Values =
    [
        "0", "1", "-1", "512", "1048576", "1.5", "1e3", "1e999", "9223372036854775808", "true", "false", "null",
        "\"null:2M\"", "\"null:1M\"",
        "\"memory:1M\"", "\"null:7\"", "\"nowhere.img\"", "\"blk\"", "\"rng\"", "\"gpu\"", "\"debug\"", "\"9\"", "\"\"",
        "\"\\u0000\"", "\"\\ud800\"",
        "{}", "[]", "[1]", "\"/tmp\"",
    ];

    private static readonly string[] Parts =
        ["path=null:1M", "path=memory:1M", "ro", "queues=2", "iops=5", "burst=1", "serial=s", "path=", "x=1", ",", "="];

    private Served _served = new();

    public void Run(FuzzInput input)
    {
        _served.Renew();
        for (int i = 1 + input.Next(RequestsMax); i > 0 && !input.IsSpent; i--) Ask(input);
        Judge("GET", "/v1/devices", Send("GET", "/v1/devices", []), "");
        if (_served.IsRunning) return;
        _served.Dispose();
        _served = new Served();
    }

    public void Dispose() => _served.Dispose();

    private void Ask(FuzzInput input)
    {
        ApiRoute route = _served.Routes[input.Next(_served.Routes.Count)];
        string name = input.Pick<string>([Disk, "vsock0", "1", "..", "blk1"]);
        string path = route.Path.Replace("{name}", name, StringComparison.Ordinal);
        byte[] body = route.Request is null ? [] : route.Path == "/v1/devices" && input.OneIn(4) ? NewDevice(input) : Body(input);
        Answer answer = Send(route.Method, path, body, input.OneIn(32) ? "text/plain" : "application/json");
        Judge(route.Method, path, answer, Convert.ToHexString(body));
        tally.Add(answer.Status.ToString(CultureInfo.InvariantCulture));
    }

    private Answer Send(string method, string path, byte[] body, string contentType = "application/json")
    {
        using MemoryStream said = new();
        DefaultHttpContext context = new();
        context.Request.Method = method;
        context.Request.Path = path;
        context.Request.ContentType = contentType;
        context.Request.Body = new MemoryStream(body);
        context.Response.Body = said;
        _served.Application.ProcessRequestAsync(context).GetAwaiter().GetResult();
        return new Answer(context.Response.StatusCode, context.Response.ContentType ?? "", said.ToArray());
    }

    private static void Judge(string method, string path, Answer answer, string body)
    {
        string said = $"{method} {path} {body}: {answer.Status} {Encoding.UTF8.GetString(answer.Body)}";
        if (answer.Status < StatusCodes.Status400BadRequest)
        {
            if (answer.ContentType.Contains("json", StringComparison.Ordinal)) JsonDocument.Parse(answer.Body).Dispose();
            return;
        }
        BrokenPromiseException.Unless(answer.Status < StatusCodes.Status500InternalServerError, $"vmm itself failed: {said}");
        BrokenPromiseException.Unless(answer.ContentType == "application/problem+json", $"a refusal that is no problem: {said}");
        ProblemView? problem = JsonSerializer.Deserialize(answer.Body, ApiJson.Readable.ProblemView);
        BrokenPromiseException.Unless(problem is { Detail.Length: > 5 and < SentenceLengthMax } && problem.Status == answer.Status
            && !problem.Detail.Contains("Exception", StringComparison.Ordinal)
            && !problem.Detail.Contains("   at ", StringComparison.Ordinal), $"a refusal that says nothing: {said}");
    }

    private static byte[] Body(FuzzInput input)
    {
        if (input.OneIn(16))
        {
            byte[] any = new byte[input.Next(64)];
            input.Fill(any);
            return any;
        }
        StringBuilder text = new("{");
        for (int i = input.Next(FieldsMax); i > 0; i--)
        {
            if (text.Length > 1) text.Append(input.OneIn(32) ? ' ' : ',');
            string name = input.OneIn(32) ? Word(input) : input.Pick<string>(Names);
            text.Append('"').Append(name).Append("\":");
            if (name == "options") text.Append('"').Append(Options(input)).Append('"');
            else text.Append(input.OneIn(8) ? $"{input.Interesting()}" : input.Pick<string>(Values));
        }
        text.Append(input.OneIn(32) ? "]" : "}");
        // Deeper than it takes.
        if (input.OneIn(64)) text.Insert(0, "{\"a\":[", 20);
        return Encoding.UTF8.GetBytes(text.ToString());
    }

    /// <summary>What makes sense in most of its parts: by chance alone a device is hardly ever added.</summary>
    private static byte[] NewDevice(FuzzInput input) =>
        Encoding.UTF8.GetBytes($$"""{"kind":"{{input.Pick<string>(["blk", "rng"])}}","options":"{{Options(input)}}"}""");

    private static string Options(FuzzInput input)
    {
        StringBuilder text = new();
        if (!input.OneIn(8)) text.Append("socket=").Append(Scratch.NextPath());
        for (int i = input.Next(FieldsMax); i > 0; i--)
        {
            if (text.Length > 0) text.Append(',');
            text.Append(input.OneIn(16) ? Word(input) : input.Pick<string>(Parts));
        }
        return text.ToString();
    }

    private static string Word(FuzzInput input)
    {
        StringBuilder word = new();
        for (int i = input.Next(LettersMax); i > 0; i--)
            word.Append(input.OneIn(8) ? "\\u00e9" : ((char)('a' + input.Next(26))).ToString());
        return word.ToString();
    }

    private sealed record Answer(int Status, string ContentType, byte[] Body);

    /// <summary>A server, and the API over it without a socket.</summary>
    private sealed class Served : IDisposable
    {
        private readonly StandardErrorLogger _log = new(LogLevel.None);
        private readonly VhostUserServer _server = new();
        private readonly ServedDevices _machine;
        private readonly PrometheusText _metrics;

        internal Served()
        {
            _server.Start();
            _machine = new ServedDevices(_server, NullLogger.Instance, () => { }, sandbox: null);
            _metrics = new PrometheusText(_machine);
            ApiRoutes routes = new(_machine, _log, _metrics, CancellationToken.None);
            // Events go on for ever; a stop is for a process.
            Routes = [.. routes.All.Where(route => route.Path is not ("/v1/events" or "/v1/machine/stop"))];
            Application = new ApiApplication(routes, gate: null, NullLogger.Instance);
        }

        internal IReadOnlyList<ApiRoute> Routes { get; }

        internal ApiApplication Application { get; }

        internal bool IsRunning => _machine.View.State == "running";

        /// <summary>The two devices, fresh.</summary>
        internal void Renew()
        {
            foreach (VhostUserBackend backend in _server.Backends) _server.RemoveAsync(backend).GetAwaiter().GetResult();
            _server.Add(Disk, DiskSpec.Parse("null:1M"), Scratch.NextPath());
            _server.Add("vsock0", VsockSpec.Parse($"cid=3,uds={Scratch.NextPath()}"), Scratch.NextPath());
        }

        public void Dispose()
        {
            _metrics.Dispose();
            _server.Dispose();
            _log.Dispose();
        }
    }
}
