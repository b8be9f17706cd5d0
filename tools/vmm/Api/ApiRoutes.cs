using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization.Metadata;
using System.Threading.Channels;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace Vmm.Tool;

/// <summary>Everything that the API can do, in the order of its document.</summary>
/// <param name="machine">What it is done with.</param>
/// <param name="log">What is logged, and what happens.</param>
/// <param name="metrics">What is measured.</param>
/// <param name="stopping">Ends streams when the server stops.</param>
internal sealed class ApiRoutes(ControlledMachine machine, StandardErrorLogger log, PrometheusText metrics, CancellationToken stopping)
{
    /// <summary>What a client that reads events gets when nothing happens, so that both ends notice when the other is gone.</summary>
    private static readonly TimeSpan KeepAlive = TimeSpan.FromSeconds(15);

    /// <summary>Longest wait for work; then it goes on, and the client is answered.</summary>
    private static readonly TimeSpan WorkPatience = TimeSpan.FromSeconds(10);

    private const double DrainSecondsMax = 7 * 24 * 60 * 60;

    private readonly Operations _operations = new();

    internal IReadOnlyList<ApiRoute> All => field ??=
    [
        Get("/v1/machine", "What runs in this process, and how it is.", ApiJson.Readable.MachineView, _ => machine.View),
        Do("pause", "Has vCPUs and devices stand still, between two instructions and two requests.", machine.Pause),
        Do("resume", "Lets vCPUs and devices go on.", machine.Resume),
        new("POST", "/v1/machine/snapshot",
            "Saves the machine into a new directory, and answers when it is whole. It is given up if the client goes away. "
                + "Only 'vmm boot' can.",
            Save)
        {
            Request = ApiJson.Readable.NewSnapshot, Response = ApiJson.Readable.SnapshotView, TakesLong = true,
            Problems = [400, 409, 422, 500, 503],
        },
        Do("power-off",
            "Presses the power button: a guest that heeds it shuts itself down, some time after the answer. Only 'vmm boot' has one.",
            machine.PowerOff, 202),
        Do("reset",
            "Starts the machine again from its kernel, without a word to the guest, which loses what it had not written. "
                + "Only 'vmm boot' can.",
            machine.Reset) with { Problems = [409, 500, 503] },
        new("POST", "/v1/machine/drain",
            "Takes no more front-ends and devices; when the front-ends that are connected have left, the process ends. "
                + "Only 'vmm serve' can.",
            Drain)
        { Request = ApiJson.Readable.DrainWish, Response = ApiJson.Readable.OperationView, Status = 202, Problems = [400, 409, 422] },
        new("POST", "/v1/machine/stop", "Asks the process to end, as SIGTERM does: what is in flight completes.", Stop)
        { Response = ApiJson.Readable.MachineView, Status = 202 },
        Get("/v1/devices", "The devices, with what they did so far.", ApiJson.Readable.DeviceList, _ => DeviceViews.List(machine)),
        new("POST", "/v1/devices", "Serves one more device from now on, or has the guest of 'vmm boot' look for one.", Add)
        { Request = ApiJson.Readable.NewDevice, Response = ApiJson.Readable.DeviceView, Status = 201, Problems = [400, 409, 422] },
        Get("/v1/devices/{name}", "A device.", ApiJson.Readable.DeviceView, name => DeviceViews.Of(machine.Find(name)), 404),
        new("PATCH", "/v1/devices/{name}", "Changes a device while it runs: all that the body names, or nothing.", Change)
        {
            Request = ApiJson.Readable.DeviceChange, Response = ApiJson.Readable.DeviceView, TakesLong = true,
            Problems = [400, 404, 409, 422],
        },
        new("DELETE", "/v1/devices/{name}",
            "Takes a device out: its front-end is sent away once nothing is in flight.", Remove)
        { ContentType = null, Status = 204, TakesLong = true, Problems = [404, 409] },
        new("POST", "/v1/devices/{name}/flush", "Makes durable what was written to a disk.", Flush)
        { Response = ApiJson.Readable.DeviceView, TakesLong = true, Problems = [404, 409, 422, 500] },
        new("GET", "/v1/devices/{name}/connections", "The connections of a device for sockets between guest and host.",
            async (context, name) => await Say(context, await DeviceViews.SocketsAsync(machine.Find(name)), ApiJson.Readable.SocketList))
        { Response = ApiJson.Readable.SocketList, Problems = [404, 422] },
        new("POST", "/v1/devices/{name}/disconnect", "Ends one of these connections, for both of its ends.", Disconnect)
        { Request = ApiJson.Readable.SocketPorts, ContentType = null, Status = 204, Problems = [400, 404, 422] },
        Get("/v1/operations", "What takes long: what is running, and what ended last.", ApiJson.Readable.OperationList, _ =>
            _operations.View),
        Get("/v1/operations/{name}", "How far one of these is.", ApiJson.Readable.OperationView, id => _operations.Find(id).View, 404),
        new("DELETE", "/v1/operations/{name}", "Gives one up: a snapshot, or the wait of a drain. Any other goes on.", (context, name) =>
        {
            Operation operation = _operations.Find(name);
            operation.Cancel();
            return Say(context, operation, 202);
        })
        { Response = ApiJson.Readable.OperationView, Status = 202, Problems = [404] },
        Get("/v1/latency", "How long the requests of each device took so far: counts by powers of two.", ApiJson.Readable.LatencyView, _ =>
            DeviceViews.Latency(machine)),
        Get("/v1/consoles", "The consoles of the guest of 'vmm run' and 'vmm boot'.", ApiJson.Readable.GuestConsoleList, _ =>
            new GuestConsoleList { Consoles = [.. machine.Consoles.Select(console => console.View)] }),
        new("GET", "/v1/consoles/{name}",
            "A console as a WebSocket: the last 64 KiB that the guest printed, then what it prints, in binary messages; "
                + "what is sent in binary messages is typed. Several may be attached, and all of them may type. "
                + "One that falls 256 KiB behind, or takes nothing for ten seconds, is cut off.",
            (context, name) => ConsoleSession.ServeAsync(context, machine.FindConsole(name).Mirror, stopping))
        { ContentType = null, Status = 101, Problems = [400, 404, 426, 503] },
        new("GET", "/v1/inspect", "The live tree of everything: reactors, devices, queues with positions, features, connections.", Inspect),
        new("GET", "/v1/events", "What happens from now on, as server-sent events: each has the data of an Event.", Watch)
        { Response = ApiJson.Readable.ApiEvent, ContentType = "text/event-stream" },
        Get("/v1/log", "How much is logged.", ApiJson.Readable.LogView, _ => LogView),
        new("PUT", "/v1/log", "Logs more, or less, from now on.", SetLog)
        { Request = ApiJson.Readable.LogView, Response = ApiJson.Readable.LogView, Problems = [400, 422] },
        new("GET", "/v1/openapi.json", "This document.", (context, _) => Write(context, 200, "application/json", OpenApi.Of(All))),
        new("GET", "/metrics", "Measurements in the text format of Prometheus.", (context, _) =>
            Write(context, 200, PrometheusText.ContentType, metrics.Collect()))
        { ContentType = PrometheusText.ContentType },
    ];

    private LogView LogView => new() { Level = LogFormat.NameOf(log.Least) };

    /// <summary>A route that shows something.</summary>
    private static ApiRoute Get<T>(string path, string summary, JsonTypeInfo<T> type, Func<string, T> view, params int[] problems) =>
        new("GET", path, summary, (context, name) => Say(context, view(name), type)) { Response = type, Problems = problems };

    /// <summary>A route that has the machine do something, and shows it then.</summary>
    private ApiRoute Do(string what, string summary, Action action, int status = 200) =>
        new("POST", $"/v1/machine/{what}", summary, async (context, _) =>
        {
            // It waits for vCPUs.
            await Task.Run(action);
            await Say(context, machine.View, ApiJson.Readable.MachineView, status);
        })
        { Response = ApiJson.Readable.MachineView, Status = status, Problems = [409, 503] };

    private async Task Save(HttpContext context, string _)
    {
        NewSnapshot asked = await Read(context, ApiJson.Readable.NewSnapshot);
        bool outlivesClient = PrefersAsync(context);
        Operation saving = _operations.Begin("snapshot", null, async operation =>
        {
            operation.Progress = () => machine.View.Saving;
            using CancellationTokenSource either = CancellationTokenSource.CreateLinkedTokenSource(
                operation.Cancelled, stopping, outlivesClient ? CancellationToken.None : context.RequestAborted);
            operation.Snapshot = await machine.SaveAsync(asked, either.Token);
        });
        await AnswerWork(context, saving, () => Say(context, saving.Snapshot!, ApiJson.Readable.SnapshotView), Timeout.InfiniteTimeSpan);
    }

    private async Task Drain(HttpContext context, string _)
    {
        DrainWish wish = await Read(context, ApiJson.Readable.DrainWish);
        if (wish.Seconds is { } seconds && !(seconds is >= 0 and <= DrainSecondsMax))
            throw new ArgumentException($"a drain of {seconds} seconds: give 0 to {DrainSecondsMax}, or none to wait for the front-ends");
        Task left = machine.DrainAsync();
        Operation draining = _operations.Begin("drain", null, async operation =>
        {
            TimeSpan patience = wish.Seconds is { } limit ? TimeSpan.FromSeconds(limit) : Timeout.InfiniteTimeSpan;
            await Task.WhenAny(left, Task.Delay(patience, operation.Cancelled)).Unwrap();
            machine.Stop();
        });
        await Keep(context, draining);
    }

    private async Task Flush(HttpContext context, string name)
    {
        ControlledDevice device = machine.Find(name);
        Operation flushing = _operations.Begin("flush", name, _ => DeviceViews.FlushAsync(device));
        await AnswerWork(context, flushing, () => Say(context, DeviceViews.Of(device)));
    }

    private async Task Disconnect(HttpContext context, string name)
    {
        ControlledDevice device = machine.Find(name);
        await DeviceViews.DisconnectAsync(device, await Read(context, ApiJson.Readable.SocketPorts));
        context.Response.StatusCode = 204;
    }

    /// <summary>Answers when work has ended; with the work itself if that takes longer than a client waits (RFC 7240 § 4.1).</summary>
    private async Task AnswerWork(HttpContext context, Operation work, Func<Task> answer, TimeSpan? patience = null)
    {
        try
        {
            await work.Task.WaitAsync(PrefersAsync(context) ? TimeSpan.Zero : patience ?? WorkPatience, context.RequestAborted);
        }
        catch (TimeoutException) when (!work.Task.IsCompleted)
        {
            await Keep(context, work);
            return;
        }
        await answer();
    }

    private Task Keep(HttpContext context, Operation work)
    {
        _operations.Keep(work);
        context.Response.Headers.Location = $"/v1/operations/{work.Id}";
        return Say(context, work, 202);
    }

    private static bool PrefersAsync(HttpContext context) =>
        context.Request.Headers["Prefer"].ToString().Contains("respond-async", StringComparison.OrdinalIgnoreCase);

    private async Task Stop(HttpContext context, string name)
    {
        // Answered first: the process may be gone before an answer is.
        MachineView view = machine.View with { State = "stopping" };
        context.Response.OnCompleted(() =>
        {
            machine.Stop();
            return Task.CompletedTask;
        });
        await Say(context, view, ApiJson.Readable.MachineView, 202);
    }

    private async Task Add(HttpContext context, string _)
    {
        NewDevice asked = await Read(context, ApiJson.Readable.NewDevice);
        ControlledDevice added = await Task.Run(() => machine.Add(asked));
        context.Response.Headers.Location = $"/v1/devices/{added.Device.Name}";
        await Say(context, DeviceViews.Of(added), ApiJson.Readable.DeviceView, 201);
    }

    private async Task Change(HttpContext context, string name)
    {
        ControlledDevice device = machine.Find(name);
        DeviceChange change = await Read(context, ApiJson.Readable.DeviceChange);
        Operation changing = _operations.Begin("change", name, _ => DeviceViews.ChangeAsync(device, change));
        await AnswerWork(context, changing, () => Say(context, DeviceViews.Of(device)));
    }

    private async Task Remove(HttpContext context, string name)
    {
        ControlledDevice device = machine.Find(name);
        Operation removing = _operations.Begin("remove", name, _ => machine.RemoveAsync(device));
        await AnswerWork(context, removing, () =>
        {
            context.Response.StatusCode = 204;
            return Task.CompletedTask;
        });
    }

    private async Task Inspect(HttpContext context, string _)
    {
        JsonObject tree = await InspectTree.OfAsync(machine);
        await Write(context, 200, "application/json", Encoding.UTF8.GetBytes(tree.ToJsonString()));
    }

    private async Task SetLog(HttpContext context, string _)
    {
        LogView asked = await Read(context, ApiJson.Readable.LogView);
        if (LogFormat.LevelOf(asked.Level) is not { } level)
            throw new ArgumentException($"'{asked.Level}' is no level: give one of {string.Join(", ", LogFormat.Levels)}");
        log.Least = level;
        await Say(context, LogView, ApiJson.Readable.LogView);
    }

    private async Task Watch(HttpContext context, string _)
    {
        using CancellationTokenSource end = CancellationTokenSource.CreateLinkedTokenSource(stopping, context.RequestAborted);
        using IDisposable subscription = log.Events.Subscribe(out ChannelReader<ApiEvent> events);
        context.Response.ContentType = "text/event-stream";
        context.Response.Headers.CacheControl = "no-store";
        try
        {
            // The client knows now that nothing that happens is missed.
            await context.Response.WriteAsync(": events from now on\n\n", end.Token);
            Task<bool> next = events.WaitToReadAsync(end.Token).AsTask();
            while (true)
            {
                if (await Task.WhenAny(next, Task.Delay(KeepAlive, end.Token)) != next)
                {
                    end.Token.ThrowIfCancellationRequested();
                    await context.Response.WriteAsync(": nothing happened\n\n", end.Token);
                    continue;
                }
                if (!await next) return;
                while (events.TryRead(out ApiEvent? happened)) await Say(context, happened);
                next = events.WaitToReadAsync(end.Token).AsTask();
            }
        }
        catch (OperationCanceledException)
        {
            // One of the two ends. If it is this one, the last event says why.
            while (!context.RequestAborted.IsCancellationRequested && events.TryRead(out ApiEvent? last)) await Say(context, last);
        }
    }

    private static Task Say(HttpContext context, ApiEvent happened) => context.Response.WriteAsync(
        $"event: {happened.Kind}\ndata: {JsonSerializer.Serialize(happened, ApiJson.Readable.ApiEvent)}\n\n", context.RequestAborted);

    private static Task Say(HttpContext context, DeviceView view) => Say(context, view, ApiJson.Readable.DeviceView);

    private static Task Say(HttpContext context, Operation operation, int status = 200) =>
        Say(context, operation.View, ApiJson.Readable.OperationView, status);

    private static Task Say<T>(HttpContext context, T view, JsonTypeInfo<T> type, int status = 200) =>
        Write(context, status, "application/json", JsonSerializer.SerializeToUtf8Bytes(view, type));

    /// <summary>Answers with a problem (RFC 9457).</summary>
    internal static Task Say(HttpContext context, ApiProblem problem) => Write(context, problem.Status, "application/problem+json",
        JsonSerializer.SerializeToUtf8Bytes(problem.View, ApiJson.Readable.ProblemView));

    private static async Task Write(HttpContext context, int status, string contentType, ReadOnlyMemory<byte> body)
    {
        context.Response.StatusCode = status;
        context.Response.ContentType = contentType;
        context.Response.ContentLength = body.Length;
        await context.Response.Body.WriteAsync(body, context.RequestAborted);
    }

    private static async Task<T> Read<T>(HttpContext context, JsonTypeInfo<T> type)
    {
        string contentType = context.Request.ContentType?.Split(';')[0].Trim() ?? "";
        if (contentType is not ("application/json" or "application/merge-patch+json"))
            throw new ApiProblem(StatusCodes.Status415UnsupportedMediaType,
                $"a body of type '{contentType}': send application/json, and say so by a header Content-Type");
        return await JsonSerializer.DeserializeAsync(context.Request.Body, type, context.RequestAborted)
            ?? throw new ApiProblem(400, string.Create(CultureInfo.InvariantCulture, $"the body is null: send an object"));
    }
}
